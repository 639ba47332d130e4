"""A file that counts what a client reads of it to send it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from vox_tensor.regular_file import regular_descriptor


class CountedFile(io.BufferedReader):
    """A regular file; `sent` is called with its position while it is sent."""

    def __init__(self, path: Path, sent: Callable[[int], None]) -> None:
        super().__init__(io.FileIO(regular_descriptor(path)))
        self._sent = sent
        self.is_sent = False
        """False while the client only computes its digest."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, and report the position: a file that is sent again counts from its beginning."""
        data = super().read(size)
        if self.is_sent and data:  # A client reads once more to see that this is the end.
            self._sent(self.tell())
        return data
