"""Reading a telemetry file while it grows: what is new since the last look. No torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vox_populi.runs.telemetry import MAX_LINE_BYTES, TelemetryLine, parse_line
from vox_tensor.regular_file import open_regular


@dataclass(frozen=True, slots=True)
class NewLines:
    """What a look found."""

    lines: tuple[TelemetryLine | None, ...]
    """Finished lines; `None` for one that is not an event."""
    has_restarted: bool = False
    """Whether these are the first lines of another file: a resumed run replaces it."""


class TelemetryFollower:
    """Remembers how far a file was read; a line without its end is read when it is finished."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file_id: tuple[int, int] | None = None
        self._offset = 0
        self._is_in_long_line = False

    def look(self) -> NewLines:
        """The lines since the last look; none while there is no file.

        Raises:
            OSError: When the file cannot be read.
        """
        try:
            file = open_regular(self._path)
        except FileNotFoundError:
            return NewLines(())
        with file:
            found = os.fstat(file.fileno())
            file_id = (found.st_dev, found.st_ino)
            is_same = file_id == self._file_id and found.st_size >= self._offset
            has_restarted = self._file_id is not None and not is_same
            if not is_same:
                self._file_id, self._offset, self._is_in_long_line = file_id, 0, False
            file.seek(self._offset)
            return NewLines(tuple(self._finished(file)), has_restarted)

    def _finished(self, file: BinaryIO) -> Iterator[TelemetryLine | None]:
        while line := file.readline(MAX_LINE_BYTES):
            is_whole = line.endswith(b"\n")
            if not is_whole and len(line) < MAX_LINE_BYTES:
                return
            self._offset += len(line)
            if is_whole:
                yield None if self._is_in_long_line else parse_line(line)
            self._is_in_long_line = not is_whole
