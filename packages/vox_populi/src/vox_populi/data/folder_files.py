"""The files of a data folder that may hold rows, by their names, and saved data sets."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from vox_populi.data.row_files.text_rows import TEXT_SUFFIXES
from vox_tensor.file_form import FileForm, form_of_name
from vox_tensor.regular_file import open_regular

SAVED_SPLIT = "state.json"
"""The file that `datasets.save_to_disk` writes next to the Arrow files of each split."""
SAVED_DATASET = "dataset_dict.json"
"""The file that it writes next to the folders of several splits."""

_MOST_ENTRIES = 20_000
_MOST_STATE_BYTES = 2**20
_NO_ROWS = frozenset({SAVED_SPLIT, SAVED_DATASET, "dataset_info.json", "dataset_infos.json"}) | {
    "config.json",
    "run.yaml",
}
_ABOUT = re.compile(r"(readme|license|licence|changelog|contributing)\b", re.IGNORECASE)
_PACKED = (".gz", ".zst", ".zstd")
_DIGITS = re.compile(r"([0-9]+)")
_MOST_DIGITS = 18


@dataclass(frozen=True, slots=True)
class FolderFile:
    """A file, or a saved data set, that may hold rows."""

    path: Path
    form: FileForm

    @property
    def kind(self) -> str:
        """The end of its name without the packing; the files of a split have the same."""
        name = self.path.name.lower()
        return next((name[: -len(end)] for end in _PACKED if name.endswith(end)), name).rpartition(
            "."
        )[2]


def files_in(folder: Path) -> list[FolderFile]:
    """The files right in a folder whose names promise rows, in the order of their names."""
    found = []
    for path in entries(folder):
        if path.name in _NO_ROWS or path.is_dir():
            continue
        form = form_of_name(path.name)
        if form is None and is_text_name(path.name) and not _ABOUT.match(path.name):
            form = FileForm.TEXT
        # A link to nothing is named, so that opening it says so; a pipe is not.
        if form is not None and (path.is_file() or path.is_symlink()):
            found.append(FolderFile(path, form))
    return found


def folders_in(folder: Path) -> list[Path]:
    """The folders right in a folder."""
    return [path for path in entries(folder) if path.is_dir()]


def text_files_below(folder: Path) -> list[Path]:
    """Text and Markdown below a folder, links to folders not followed."""
    found: list[Path] = []
    for base, names, files in os.walk(folder):
        names[:] = sorted((each for each in names if not each.startswith(".")), key=natural_order)
        for name in sorted(files, key=natural_order):
            if is_text_name(name) and not name.startswith(".") and len(found) < _MOST_ENTRIES:
                found.append(Path(base) / name)
    return [path for path in found if path.is_file()]


def is_text_name(name: str) -> bool:
    """Whether a name is that of a text, packed or not."""
    lowered = name.lower()
    packed = next((lowered[: -len(end)] for end in _PACKED if lowered.endswith(end)), lowered)
    return packed.endswith(TEXT_SUFFIXES)


def saved_splits(folder: Path) -> dict[str, tuple[Path, ...]]:
    """The Arrow files of a saved data set by the names of its splits; none if it is not one."""
    if (folder / SAVED_SPLIT).is_file():
        return {"train": _saved_files(folder)}
    if not (folder / SAVED_DATASET).is_file():
        return {}
    parts = {each.name: _saved_files(each) for each in folders_in(folder)}
    return {name: files for name, files in parts.items() if files}


def entries(folder: Path) -> list[Path]:
    """What is in a folder and not hidden, numbers in names counted as numbers."""
    try:
        with os.scandir(folder) as found:
            names = [entry.name for entry, _ in zip(found, range(_MOST_ENTRIES), strict=False)]
    except OSError:
        return []
    return [folder / name for name in sorted(names, key=natural_order) if not name.startswith(".")]


def _saved_files(folder: Path) -> tuple[Path, ...]:
    """The files of one split, in the order of its state file, or of their names without one."""
    names: list[object] = []
    try:
        with open_regular(folder / SAVED_SPLIT) as file:
            state = json.loads(file.read(_MOST_STATE_BYTES))
        names = [each["filename"] for each in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return tuple(path for path in entries(folder) if path.suffix == ".arrow")
    # A name with a folder in it would lead out of the data set.
    return tuple(folder / Path(str(name)).name for name in names)


def natural_order(name: str) -> tuple[list[tuple[str, int]], str]:
    """Sort key of a name: its numbers as numbers; every second part is one."""
    parts = _DIGITS.split(name)
    pairs = zip(parts[::2], [*parts[1::2], "0"], strict=True)
    return [(text, int(number[:_MOST_DIGITS])) for text, number in pairs], name
