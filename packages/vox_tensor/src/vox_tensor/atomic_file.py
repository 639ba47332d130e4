"""Replacing a file in one step, so that a reader sees the old content or the new, never a part.

The new content is written to `.<name>.<process>.tmp` in the same folder. That file is locked while
it is written, so that the next writer can tell the leftovers of a killed process from a file that
is still being written.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from vox_tensor.regular_file import regular_descriptor

if sys.platform != "win32":
    import fcntl

_TEMPORARY_NAME = re.compile(r"\..+\.[0-9]+\.tmp", re.DOTALL)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_NEW |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


@contextmanager
def replaced_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file next to `path` that replaces it when the block succeeds.

    The bytes are on disk before the rename and the rename is on disk before this returns.
    When the block raises, `path` is untouched and the temporary file is removed. The mode
    follows from the umask, as for any new file. A link at `path` is replaced, not followed.

    Raises:
        OSError: When the folder cannot be written or the disk is full; it names a file.
    """
    with (
        _named(path),
        _staged(path) as (descriptor, _),
        os.fdopen(descriptor, "wb", closefd=False) as handle,
    ):
        yield handle


@contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """`replaced_file` for a writer that opens its file by name: yields the temporary file's path.

    Raises:
        OSError: As `replaced_file`.
    """
    with _named(path), _staged(path) as (_, temporary):
        yield temporary


def temporary_name(path: Path, purpose: str = "") -> Path:
    """The temporary name under which this process writes what will become `path`."""
    middle = f".{purpose}" if purpose else ""
    return path.with_name(f".{path.name}{middle}.{os.getpid()}.tmp")


def is_temporary(name: str) -> bool:
    """Whether a folder entry has such a temporary name, left by a killed process or in use."""
    return _TEMPORARY_NAME.fullmatch(name) is not None


def remove_leftovers(path: Path) -> None:
    """Remove what killed writers of a file left next to it; what cannot be removed stays.

    Only unlocked regular files with a temporary name of `path` are removed.
    """
    ours = re.compile(re.escape(f".{path.name}.") + r"[0-9]+\.tmp")
    try:
        found = [entry.path for entry in os.scandir(path.parent) if ours.fullmatch(entry.name)]
    except OSError:
        return
    for entry in found:
        with suppress(OSError):
            _remove_unlocked(Path(entry))


def sync_folder(folder: Path) -> None:
    """Make a rename durable; Windows cannot open a folder and does not need to."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Add the target file's name to write errors, which come without one."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def _staged(path: Path) -> Iterator[tuple[int, Path]]:
    """A new, locked temporary file that replaces `path` when the block succeeds."""
    remove_leftovers(path)
    temporary = temporary_name(path)
    descriptor = _new_locked_file(temporary)
    try:
        try:
            yield descriptor, temporary
            os.fsync(descriptor)
        finally:
            # Windows renames and removes no file that is open.
            os.close(descriptor)
        temporary.replace(path)
    except BaseException:
        # What went wrong first is what the caller must see, not a failing clean-up.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _new_locked_file(path: Path) -> int:
    """Create and lock a file; an existing entry, in particular a link, is never written to."""
    while True:
        descriptor = os.open(path, _NEW, 0o666)
        try:
            _lock(descriptor)
            if os.path.samestat(os.fstat(descriptor), path.lstat()):
                return descriptor
        except FileNotFoundError:
            pass  # Another process took it for a leftover before it was locked.
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


if sys.platform == "win32":

    def _lock(_: int) -> None:
        """No lock is needed: Windows does not remove an open file."""

    def _remove_unlocked(path: Path) -> None:
        if stat.S_ISREG(path.lstat().st_mode):
            path.unlink()
else:

    def _lock(descriptor: int) -> None:
        # A file system without locks refuses; what is left there is then never removed.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _remove_unlocked(path: Path) -> None:
        descriptor = regular_descriptor(path, follow_links=False)
        try:
            # Refused where somebody is writing it.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), path.lstat()):
                path.unlink()
        finally:
            os.close(descriptor)
