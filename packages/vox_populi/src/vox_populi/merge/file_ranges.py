"""Files of a merge: ranges read from the base, new files written from start to end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vox_populi import operator_messages as say
from vox_populi.errors import ModelError

_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


@contextmanager
def new_file(path: Path) -> Iterator[int]:
    """A descriptor of a file to write, which must not be there yet.

    Raises:
        OSError: When it is, or the system refuses.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: memoryview | bytes) -> None:
    """Write all of it; the system may take less at a time.

    Raises:
        OSError: When the system refuses.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def read_range(path: Path, start: int, size: int) -> bytearray:
    """Read exactly so many bytes.

    Raises:
        ModelError: When the file ends before, or the system refuses.
    """
    data = bytearray(size)
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            view = memoryview(data)
            while view:
                count = file.readinto(view)
                if not count:
                    raise ModelError(say.container_broken(str(path), "it shrank while it was read"))
                view = view[count:]
    except OSError as error:
        reason = error.strerror or "reading failed"
        raise ModelError(say.model_file_unreadable(str(path), reason)) from error
    return data


def sync_file(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    descriptor = os.open(path, os.O_RDWR | _BINARY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
