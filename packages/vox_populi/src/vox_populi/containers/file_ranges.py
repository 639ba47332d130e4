"""Ranges of a base's files, read into memory that is used again."""

from __future__ import annotations

from io import FileIO
from pathlib import Path
from typing import Self

from vox_populi.errors import ModelError
from vox_populi.operator_messages import model_folder as say
from vox_tensor.regular_file import regular_descriptor


class RangeReader:
    """A file held open, from which ranges are read into memory that the caller uses again."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            ModelError: When the system refuses.
        """
        self._path = path
        try:
            self._file = FileIO(regular_descriptor(path), "rb")
        except OSError as error:
            raise _unreadable(path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def fill(self, view: memoryview, start: int) -> None:
        """Read as many bytes as the view has, from `start` on.

        Raises:
            ModelError: When the file ends before, or the system refuses.
        """
        try:
            self._file.seek(start)
            while view:
                count = self._file.readinto(view)
                if not count:
                    broken = say.container_broken(str(self._path), "it shrank while it was read")
                    raise ModelError(broken)
                view = view[count:]
        except OSError as error:
            raise _unreadable(self._path, error) from error


def read_range(path: Path, start: int, size: int) -> bytearray:
    """Read exactly so many bytes.

    Raises:
        ModelError: When the file ends before, or the system refuses.
    """
    data = bytearray(size)
    with RangeReader(path) as reader:
        reader.fill(memoryview(data), start)
    return data


def _unreadable(path: Path, error: OSError) -> ModelError:
    return ModelError(say.model_file_unreadable(str(path), error.strerror or "reading failed"))
