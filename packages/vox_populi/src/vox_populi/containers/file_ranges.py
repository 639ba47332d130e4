"""Ranges of a file's bytes, read into memory that the caller may reuse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from vox_populi.errors import ModelError
from vox_populi.files.model_file import open_model_file
from vox_populi.operator_messages import model_folder as say


class RangeReader:
    """An open file from which ranges are read."""

    def __init__(self, path: Path, file: BufferedReader) -> None:
        self.path = path
        self._file = file

    def fill(self, view: memoryview, start: int) -> None:
        """Fill a view with bytes from `start` on.

        Raises:
            ModelError: When the file ends before.
        """
        self._file.seek(start)
        while view:
            count = self._file.readinto(view)
            if not count:
                reason = "it became shorter while it was read"
                raise ModelError(say.model_file_unreadable(reason).at(str(self.path)))
            view = view[count:]

    def read(self, start: int, size: int) -> bytearray:
        """Read an exact number of bytes.

        Raises:
            ModelError: When the file ends before.
        """
        data = bytearray(size)
        self.fill(memoryview(data), start)
        return data

    def blocks(self, start: int, size: int, step: int) -> Iterator[memoryview]:
        """Read a range block by block; each block overwrites the previous one.

        Raises:
            ModelError: When the file ends before.
        """
        buffer = memoryview(bytearray(min(step, size)))
        for first in range(0, size, step):
            block = buffer[: size - first]
            self.fill(block, start + first)
            yield block


@contextmanager
def open_ranges(path: Path) -> Iterator[RangeReader]:
    """Open a file to read ranges of it.

    Raises:
        ModelError: When the system refuses, also later, while the block reads.
    """
    with open_model_file(path) as file:
        yield RangeReader(path, file)


def read_range(path: Path, start: int, size: int) -> bytearray:
    """Read an exact number of bytes of a file.

    Raises:
        ModelError: When the file ends before, or the system refuses.
    """
    with open_ranges(path) as reader:
        return reader.read(start, size)
