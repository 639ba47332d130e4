"""The files of a data folder besides `train.jsonl`: held-out rows, and rows in other formats."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vox_tensor.file_form import HEAD_BYTES, FileForm, form_of_content, form_of_name
from vox_tensor.regular_file import open_regular

TRAIN_FILE = "train.jsonl"
VALID_FILE = "valid.jsonl"
VALID_FILES = (VALID_FILE, "validation.jsonl", "val.jsonl", "dev.jsonl", "eval.jsonl")
"""File names of held-out rows; the first that exists is read."""
UNREAD_FILES = ("test.jsonl", *VALID_FILES)
"""Names that people expect to be read; a test set is for `vox mens eval` instead."""

_MOST_ENTRIES = 1000
_SAVED_DATASET = "state.json"
"""The file that `datasets.save_to_disk` writes next to the Arrow files of each split."""
_NO_ROWS = frozenset({*UNREAD_FILES, "dataset_dict.json", "dataset_info.json", "config.json"})


@dataclass(frozen=True, slots=True)
class OtherRows:
    """A file, or a saved data set, that looks like the intended rows."""

    path: Path
    form: FileForm


def valid_file(folder: Path) -> str | None:
    """File name of a data folder's held-out rows; `None` if there are none."""
    return next((name for name in VALID_FILES if os.path.lexists(folder / name)), None)


def unread_files(folder: Path, used: str | None) -> tuple[str, ...]:
    """Files of rows with a well-known name that a run does not read."""
    return tuple(name for name in UNREAD_FILES if name != used and os.path.lexists(folder / name))


def other_rows(folder: Path) -> OtherRows | None:
    """The most likely rows of a folder without `train.jsonl`: first by name, then by format."""
    found = sorted(_candidates(folder), key=lambda each: _rank(folder, each))
    return found[0] if found else None


def rows_in_file(path: Path) -> OtherRows | None:
    """The format of a file that was passed instead of a folder."""
    promised = form_of_name(path.name)
    try:
        with open_regular(path) as file:
            form = form_of_content(file.read(HEAD_BYTES))
    except OSError:
        form = None
    form = form or promised
    return None if form is None else OtherRows(path, form)


def _candidates(folder: Path) -> Iterator[OtherRows]:
    """Saved data sets and files in a folder and its subfolders."""
    for place in (folder, *(each for each in _entries(folder) if each.is_dir())):
        if (place / _SAVED_DATASET).is_file():
            yield OtherRows(place, FileForm.DATASET)
            continue
        for path in _entries(place):
            is_named = form_of_name(path.name) is not None and path.name not in _NO_ROWS
            seen = rows_in_file(path) if is_named and path.is_file() else None
            if seen is not None:
                yield seen


def _entries(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry, _ in zip(entries, range(_MOST_ENTRIES), strict=False)]
    except OSError:
        return []
    return [folder / name for name in sorted(names) if not name.startswith(".")]


def _rank(folder: Path, rows: OtherRows) -> tuple[bool, bool, bool, str]:
    """Sort key: names that suggest training, files in the folder itself, then JSON Lines."""
    return (
        not rows.path.name.lower().startswith("train"),
        rows.path.parent != folder,
        rows.form is not FileForm.JSON_LINES,
        str(rows.path),
    )
