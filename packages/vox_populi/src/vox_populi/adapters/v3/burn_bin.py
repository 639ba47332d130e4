"""`.bin` files and archives, which are not QLoRA adapters, by name or first bytes. No torch."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path, PureWindowsPath

from vox_populi.adapters.header import ADAPTER_FORMAT
from vox_populi.containers.safetensors_header import SafetensorsHeader, read_header
from vox_populi.errors import ArtifactError, ModelError
from vox_populi.files.model_file import open_model_file
from vox_populi.operator_messages import adapter as say
from vox_populi.operator_messages.model_folder import container_foreign

MERGE_QLORA_REJECTS_BURN_BIN = say.MERGE_QLORA_REJECTS_BURN_BIN

_ARCHIVES = (b"PK", b"\x80", b"\x1f\x8b")
"""First bytes of a zip, a pickle and a gzip file: what torch saves, possibly compressed."""
_BIN_NAME = re.compile(r"\.bin(\.(gz|zip|bz2|xz|zst))?")


def is_burn_bin_name(name: str) -> bool:
    """Whether a file name, or the last part of a Unix or Windows path, is that of a `.bin`."""
    # Windows drops dots and spaces at the end of a name, and finds the file without them.
    last = PureWindowsPath(name).name.rstrip(". ").lower()
    found = _BIN_NAME.search(last)
    return found is not None and found.end() == len(last)


def refuse_burn_bin(path: Path) -> None:
    """Refuse files that cannot be QLoRA adapters: a `.bin` by name, archives by first bytes.

    A container with the header of a LoRA adapter is refused under any name. Other problems of the
    file are reported by the reader of adapters.

    Raises:
        ArtifactError: With `MERGE_QLORA_REJECTS_BURN_BIN`.
    """
    with suppress(ModelError):
        header_of_qlora(path)


def header_of_qlora(path: Path) -> SafetensorsHeader:
    """The container's header of a possible QLoRA adapter.

    Raises:
        ArtifactError: As `refuse_burn_bin`.
        ModelError: For any other file that is not a valid container.
    """
    refused = ArtifactError(say.BURN_BIN_REFUSED.at(str(path)))
    if is_burn_bin_name(str(path)):
        raise refused
    try:
        container = read_header(path)
    except ModelError as error:
        is_foreign = error.problems[0].code == container_foreign("").code
        if is_foreign and _first_bytes(path).startswith(_ARCHIVES):
            raise refused from error
        raise
    if container.metadata.get("format") == ADAPTER_FORMAT:
        raise refused
    return container


def _first_bytes(path: Path) -> bytes:
    with open_model_file(path) as file:
        return file.read(2)
