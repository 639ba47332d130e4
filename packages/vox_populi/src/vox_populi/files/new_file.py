"""Creating files and writing them from start to end, through their descriptor."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vox_populi.files.whole_file import Chunk

_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


@dataclass(frozen=True, slots=True)
class WrittenBytes:
    """Size and digest of a written file."""

    size: int
    sha256: str
    """In hexadecimal."""


def write_new_file(path: Path, chunks: Iterable[Chunk], *, synced: bool = True) -> WrittenBytes:
    """Create a file, which must not exist yet, and write it from start to end.

    Args:
        path: The new file; an existing entry, in particular a link, is never written to.
        chunks: The content; a chunk may be overwritten once the next one is taken.
        synced: Wait until the content is on the disk; otherwise `sync_file` does that.

    Raises:
        OSError: When the path exists, or the system refuses.
    """
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
    try:
        for chunk in chunks:
            _write_all(descriptor, chunk)
            digest.update(chunk)
            size += len(chunk)
        if synced:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return WrittenBytes(size, digest.hexdigest())


def sync_file(path: Path) -> None:
    """Wait until a file's content is on the disk.

    Raises:
        OSError: When the system refuses.
    """
    descriptor = os.open(path, os.O_RDWR | _BINARY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: Chunk) -> None:
    """Write all of the content; the system may take less at a time."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
