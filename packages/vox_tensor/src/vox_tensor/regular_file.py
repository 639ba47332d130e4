"""The one opener of files to read: regular ones only, as devices never end and pipes block."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO

from vox_tensor import data_messages as say
from vox_tensor.errors import DataError, cause

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
"""Windows lacks these flags but `O_BINARY`, and has no FIFOs in its file system."""


class NotRegularFileError(OSError):
    """A folder, FIFO, socket or device (or a link, where none may be followed)."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EINVAL, "not a regular file", str(path))


class FileTooLargeError(OSError):
    """A file with more bytes than its reader takes."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__(errno.EFBIG, f"it is larger than {most_bytes:,} bytes")


def regular_descriptor(path: Path, *, follow_links: bool = True) -> int:
    """Open a regular file for reading; never waits, whatever is there.

    Raises:
        NotRegularFileError: For anything else.
        OSError: When the file is missing or the system refuses.
        ValueError: For a path with a NUL in it.
    """
    # Looked at before it is opened: opening a pipe wakes up its writer.
    status = path.stat() if follow_links else path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise NotRegularFileError(path)
    # Without O_NONBLOCK, a pipe that took the file's place meanwhile would be waited for.
    descriptor = os.open(path, _FLAGS | _BINARY | (0 if follow_links else _NO_FOLLOW))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegularFileError(path)
    return descriptor


def open_regular(path: Path, *, follow_links: bool = True) -> BufferedReader:
    """`regular_descriptor` as a buffered file.

    Raises:
        OSError: As `regular_descriptor`.
        ValueError: For a path with a NUL in it.
    """
    return os.fdopen(regular_descriptor(path, follow_links=follow_links), "rb")


def read_whole(file: IO[bytes], most_bytes: int) -> bytes:
    """The rest of an open file.

    Raises:
        FileTooLargeError: When it has more bytes; no more than one of these is read.
        OSError: When the system refuses.
    """
    data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise FileTooLargeError(most_bytes)
    return data


@contextmanager
def open_regular_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file of rows for reading bytes; links are followed.

    Raises:
        DataError: When it is missing, unreadable (also later, while the block reads) or a
            folder, device, pipe or socket.
    """
    where = str(path)
    try:
        with open_regular(path) as handle:
            yield handle
    except NotRegularFileError:
        raise DataError(say.NOT_A_REGULAR_FILE.at(where)) from None
    except OSError as error:
        raise DataError(say.file_unreadable(cause(error)).at(where)) from None
