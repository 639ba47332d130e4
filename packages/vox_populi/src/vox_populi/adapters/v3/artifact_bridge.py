"""Which adapter belongs to which command, and version 2 to version 3 and back. No torch here."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path, PureWindowsPath

from vox_populi.adapters.header import (
    ADAPTER_FORMAT,
    AdapterHeader,
)
from vox_populi.adapters.v3.facts import AdapterFacts, require_head
from vox_populi.containers.safetensors_header import read_header
from vox_populi.contract.choices import GraphId
from vox_populi.errors import ArtifactError, ModelError
from vox_populi.files.model_file import open_model_file
from vox_populi.operator_messages import adapter as say
from vox_populi.operator_messages.model_folder import container_foreign

MERGE_QLORA_REJECTS_BURN_BIN = say.MERGE_QLORA_REJECTS_BURN_BIN

_ARCHIVES = (b"PK", b"\x80", b"\x1f\x8b")
"""A zip, a pickle, a gzip file: what torch saves, and what people make of it."""
_BIN_NAME = re.compile(r"\.bin(\.(gz|zip|bz2|xz|zst))?")


def is_burn_bin_name(name: str) -> bool:
    """Whether a file name, or the last part of a path of either system, is that of a `.bin`."""
    # Windows drops dots and spaces at the end of a name, and finds the file without them.
    last = PureWindowsPath(name).name.rstrip(". ").lower()
    found = _BIN_NAME.search(last)
    return found is not None and found.end() == len(last)


def refuse_burn_bin(path: Path) -> None:
    """Refuse what can be no QLoRA adapter: a `.bin` by name, a pickle, zip or gzip by first bytes.

    A container with the header of a LoRA adapter is refused under any name. Whatever else is
    wrong with the file, the reader of adapters says.

    Raises:
        ArtifactError: With `MERGE_QLORA_REJECTS_BURN_BIN`.
    """
    if is_burn_bin_name(str(path)) or _holds_something_else(path):
        raise ArtifactError(say.burn_bin_refused(str(path)))


def _holds_something_else(path: Path) -> bool:
    try:
        metadata = read_header(path).metadata
    except ModelError as error:
        is_foreign = error.problems[0].code == container_foreign("", "").code
        return is_foreign and _first_bytes(path).startswith(_ARCHIVES)
    return metadata.get("format") == ADAPTER_FORMAT


def _first_bytes(path: Path) -> bytes:
    with open_model_file(path) as file:
        return file.read(2)


def require_lora(header: AdapterHeader, path: Path) -> None:
    """Refuse an adapter that was trained on NF4 weights or in another graph than the transformer.

    Raises:
        ArtifactError: Pointing to `merge-qlora`.
    """
    if header.quantization is not None or header.graph != GraphId.FULL:
        raise ArtifactError(say.quantised_adapter_refused(str(path), header.graph))


def require_qlora(facts: AdapterFacts, path: Path) -> None:
    """Refuse a sidecar of an adapter that was trained on a base as it is stored.

    Raises:
        ArtifactError: Pointing to `merge-weights`.
    """
    if (facts.method, facts.base_quant) != ("qlora", "nf4"):
        raise ArtifactError(say.form_is_not_qlora(str(path), facts.method, facts.base_quant))


def facts_from_v2(facts: AdapterFacts) -> AdapterFacts:
    """Version 2 as version 3: qlora on nf4, doubly quantised, of unknown provenance.

    Raises:
        ValueError: For facts of another version.
    """
    _require_version(facts, 2)
    return replace(facts, version=3, provenance=None)


def facts_to_v2(facts: AdapterFacts, path: Path) -> AdapterFacts:
    """Version 3 as version 2, which cannot say provenance and quantisation.

    The key of the embedding table is the one that is stated, else that of the head, which
    is the same table wherever the source system wrote the file.

    Args:
        facts: Of version 3.
        path: Where they were read, for messages.

    Raises:
        ArtifactError: For another method than qlora on nf4, and without either key.
        ValueError: For facts of another version.
    """
    _require_version(facts, 3)
    require_qlora(facts, path)
    if facts.embed_key is None:
        require_head(facts, path)
    return replace(facts, version=2, double_quant=True, provenance=None)


def _require_version(facts: AdapterFacts, version: int) -> None:
    if facts.version != version:
        message = f"these facts are of version {facts.version}, not {version}"
        raise ValueError(message)
