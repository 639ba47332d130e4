"""The content of a file when it was opened, to notice a change: size, time stamp and digest."""

from __future__ import annotations

import hashlib
import os
from functools import cached_property
from pathlib import Path
from typing import IO

from vox_populi.errors import DataError
from vox_populi.operator_messages import data as say
from vox_tensor.regular_file import open_regular_file

_CHUNK_BYTES = 2**20


def file_digest(path: Path) -> str:
    """`sha256:` and the hash of a file's bytes.

    Raises:
        DataError: When the file cannot be read.
    """
    digest = hashlib.sha256()
    with open_regular_file(path) as handle:
        while chunk := handle.read(_CHUNK_BYTES):
            digest.update(chunk)
    return "sha256:" + digest.hexdigest()


class FileContent:
    """What a file held when it was opened.

    Raises:
        DataError: When it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_regular_file(path) as handle:
            self._stamp = _stamp(handle)

    @cached_property
    def digest(self) -> str:
        """`sha256:` and the hash of its bytes."""
        return file_digest(self.path)

    def check_unchanged(self, handle: IO[bytes] | None = None) -> None:
        """Check that it still holds the same.

        Args:
            handle: The open file, if there is one.

        Raises:
            DataError: When its bytes have changed, or it cannot be opened any more.
        """
        if handle is None:
            with open_regular_file(self.path) as opened:
                self.check_unchanged(opened)
            return
        stamp = _stamp(handle)
        if stamp == self._stamp:
            return
        # A copy or a touch gives the same bytes another time stamp; only the bytes count.
        if file_digest(self.path) != self.digest:
            raise DataError(say.DATA_FILE_CHANGED.at(str(self.path)))
        self._stamp = stamp


def _stamp(handle: IO[bytes]) -> tuple[int, int]:
    status = os.fstat(handle.fileno())
    return status.st_size, status.st_mtime_ns
