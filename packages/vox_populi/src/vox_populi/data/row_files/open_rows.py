"""Opens a file of rows in whatever format it is, recognised by its content."""

from __future__ import annotations

from pathlib import Path

from vox_populi.data.row_files.json_lines import JsonLinesFile
from vox_populi.data.row_files.row_file import RowFile


def open_rows(path: Path) -> RowFile:
    """The rows of a file.

    Raises:
        DataError: When it cannot be read.
    """
    return JsonLinesFile(path)
