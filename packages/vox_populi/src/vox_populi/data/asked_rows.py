"""The rows of a request that names a file, a folder, or several of both."""

from __future__ import annotations

import os
from pathlib import Path

from vox_populi.data.folder_rows import asked_place, files_of, folder_rows
from vox_populi.data.row_files.joined_rows import open_all_rows
from vox_populi.data.row_files.row_file import RowFile
from vox_populi.data.row_files.text_rows import MOST_CHARACTERS
from vox_populi.errors import DataError
from vox_populi.operator_messages import row_files as say

AskedRows = Path | tuple[Path, ...]
"""One path or several, each a file or a folder."""


def asked_paths(asked: AskedRows) -> tuple[Path, ...]:
    """The paths one by one."""
    return (asked,) if isinstance(asked, Path) else asked


def asked_places(asked: AskedRows) -> tuple[Path, ...]:
    """The files and folders one by one, without names of configurations."""
    return tuple(asked_place(path)[0] for path in asked_paths(asked))


def shown_asked(asked: AskedRows) -> str:
    """All of them for a report."""
    return ", ".join(map(str, asked_paths(asked)))


def open_training_rows(asked: AskedRows, text_chars: int = MOST_CHARACTERS) -> RowFile:
    """The rows that a run would be trained on.

    Raises:
        DataError: When one cannot be read, or a folder has no training rows.
        MissingExtraError: For a format whose extra is not installed.
    """
    return open_all_rows(files_of(asked_paths(asked)).train, text_chars)


def open_measured_rows(asked: AskedRows, text_chars: int = MOST_CHARACTERS) -> RowFile:
    """The rows to measure a model on: of a folder, its test rows, else its held-out rows.

    Raises:
        DataError: When one cannot be read, or a folder has no rows.
        MissingExtraError: For a format whose extra is not installed.
    """
    files: list[Path] = []
    for path in asked_paths(asked):
        place, config = asked_place(path)
        if not os.path.isdir(place):  # noqa: PTH112 - `Path.is_dir` raises where it may not look
            files.append(path)
            continue
        found = folder_rows(place, by_name_only=False, config=config)
        chosen = found.test or found.valid or found.train
        if not chosen:
            raise DataError(say.FOLDER_WITHOUT_ROWS.at(str(path)))
        files += chosen
    return open_all_rows(files, text_chars)
