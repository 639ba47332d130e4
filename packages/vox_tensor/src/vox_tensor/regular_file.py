"""Opening inputs: regular files only, because devices never end and pipes block."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from vox_tensor import data_messages as say
from vox_tensor.errors import DataError


@contextmanager
def open_regular_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading bytes; links are followed.

    Raises:
        DataError: When it is missing, unreadable (also later, while the block reads) or a
            folder, device, pipe or socket.
    """
    where = str(path)
    try:
        # Looked at before it is opened: opening a pipe waits, or wakes up its writer.
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(say.not_a_regular_file(where))
        with path.open("rb") as handle:
            if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
                raise DataError(say.not_a_regular_file(where))
            yield handle
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(say.file_unreadable(reason, where)) from None
