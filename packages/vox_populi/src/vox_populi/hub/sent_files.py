"""Which files of a folder are sent to the hub, and what of them must not leave this machine.

Only files that other programs load are sent: no rows, telemetry, samples or places of this machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vox_populi.files.known_names import PEFT_CONFIG_FILE
from vox_populi.files.published_file import read_published_file, require_in_folder
from vox_populi.files.strict_json import parse_json_object
from vox_populi.files.whole_file import pretty_json
from vox_populi.hf.companion_files import CARD_FILE, OTHER_FILES, TEMPLATES_FOLDER, TOKENIZER_FILES
from vox_populi.hf.model_config import CONFIG_NAME
from vox_populi.hf.saved_path import without_saved_path
from vox_populi.hf.weight_files import INDEX_NAME, find_listed_weights
from vox_populi.merge.receipt import RECEIPT_FILE
from vox_populi.merge.serving_handoff import HANDOFF_FILE

_BASE_FIELD = "base_model_name_or_path"
_TEXT_FILES = (*TOKENIZER_FILES, *OTHER_FILES)


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file of an upload."""

    name: str
    """Its name in the repository."""
    content: bytes | Path
    """Small files as bytes; weights stay on the disk until they are sent."""
    size: int


def model_files(folder: Path) -> list[SentFile]:
    """The files of a model folder: config, weights, tokenizer, licences, receipt, card.

    Raises:
        ModelError: For a file that cannot be read or leads out of the folder.
    """
    names = (CONFIG_NAME, INDEX_NAME, RECEIPT_FILE, HANDOFF_FILE, CARD_FILE, *_TEXT_FILES)
    return [*_small(folder, names), *_weights(folder, find_listed_weights(folder))]


def adapter_files(folder: Path, weights: str, base_name: str) -> list[SentFile]:
    """The files of a PEFT folder, whose config names its base on the hub.

    Args:
        folder: The folder.
        weights: The file with the adapter's numbers.
        base_name: The base's name on the hub.

    Raises:
        ModelError: As `model_files`.
    """
    small = _small(folder, (PEFT_CONFIG_FILE, HANDOFF_FILE, CARD_FILE, *_TEXT_FILES))
    changed = [_with_base(each, base_name) for each in small]
    if changed != small:
        # The handoff has the digest of the config as it was.
        changed = [each for each in changed if each.name != HANDOFF_FILE]
    return [*changed, *_weights(folder, [weights])]


def with_file(files: Iterable[SentFile], name: str, content: bytes) -> list[SentFile]:
    """The same files with one that is new or replaced."""
    return [*(e for e in files if e.name != name), SentFile(name, content, len(content))]


def content_of(files: Iterable[SentFile], name: str) -> bytes | None:
    """The content of a small file, if it is among these."""
    found = next((each.content for each in files if each.name == name), None)
    return found if isinstance(found, bytes) else None


def _small(folder: Path, names: Iterable[str]) -> list[SentFile]:
    there = [name for name in names if os.path.lexists(folder / name)]
    templates = sorted((folder / TEMPLATES_FOLDER).glob("*.jinja"))
    there += [f"{TEMPLATES_FOLDER}/{path.name}" for path in templates]
    found = []
    for name in there:
        content = without_saved_path(name, read_published_file(folder / name, folder))
        found.append(SentFile(name, content, len(content)))
    return found


def _weights(folder: Path, names: Iterable[str]) -> list[SentFile]:
    found = []
    for name in names:
        path = folder / name
        require_in_folder(path, folder)
        found.append(SentFile(name, path, path.stat().st_size))
    return found


def _with_base(file: SentFile, base_name: str) -> SentFile:
    """An adapter's config that names its base as the hub does; any other file as it is."""
    if file.name != PEFT_CONFIG_FILE or not isinstance(file.content, bytes):
        return file
    config = parse_json_object(file.content, file.name)
    if config.get(_BASE_FIELD) == base_name:
        return file
    content = pretty_json({**config, _BASE_FIELD: base_name})
    return SentFile(file.name, content, len(content))
