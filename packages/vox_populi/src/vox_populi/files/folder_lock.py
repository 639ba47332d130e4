"""A lock on a folder that ends with its process: a kernel lock on a file with the holder's id."""

from __future__ import annotations

import os
import platform
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vox_populi.errors import EnvironmentFailure
from vox_populi.operator_messages import environment as say
from vox_tensor.regular_file import NotRegularFileError, open_regular, regular_descriptor

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK_NAME = ".run.lock"
_HOLDER_MAX_BYTES = 400


@dataclass(slots=True)
class FolderLock:
    """A held lock; `release` removes its file."""

    path: Path
    _descriptor: int | None

    @classmethod
    def acquire(cls, folder: Path) -> FolderLock:
        """Take the lock immediately or refuse.

        Raises:
            EnvironmentFailure: When another process holds it, with that process; when the
                folder cannot be written.
        """
        path = folder / LOCK_NAME
        descriptor: int | None = None
        try:
            while True:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _SAFELY, 0o666)
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise NotRegularFileError(path)
                if not _try_lock(descriptor):
                    os.close(descriptor)
                    raise EnvironmentFailure(say.folder_locked(_read_holder(path)).at(str(folder)))
                if _is_still(path, descriptor):
                    break
                # Its last holder removed the file between our open and our lock.
                os.close(descriptor)
                descriptor = None
            os.ftruncate(descriptor, 0)
            holder = f"process {os.getpid()} on {platform.node() or 'this machine'}\n"
            os.write(descriptor, holder.encode()[:_HOLDER_MAX_BYTES])
        except OSError as error:
            # A lock that nobody is told of would be held to the end of the process.
            with suppress(OSError):
                if descriptor is not None:
                    os.close(descriptor)
            raise EnvironmentFailure(say.file_not_written(error).at(str(path))) from error
        return cls(path, descriptor)

    def release(self, *, keep_file: bool = False) -> None:
        """Remove the lock file, then release the lock; safe to call twice.

        Args:
            keep_file: Keep it, as a killed process would, because the folder has yet to be emptied.
        """
        if self._descriptor is None:
            return
        # Removed while still held, so that nobody can be holding the file that goes away.
        try:
            with suppress(OSError):
                if not keep_file and _is_still(self.path, self._descriptor):
                    self.path.unlink()
        finally:
            os.close(self._descriptor)
            self._descriptor = None


def lock_holder(folder: Path) -> str | None:
    """The holder of a folder's lock (`process 12 on host`), or `None` if it is not locked."""
    path = folder / LOCK_NAME
    try:
        descriptor = regular_descriptor(path, follow_links=False)
    except OSError:
        return None
    try:
        return None if _is_free(descriptor) else _read_holder(path)
    finally:
        os.close(descriptor)


def _read_holder(path: Path) -> str:
    try:
        with open_regular(path, follow_links=False) as file:
            text = file.read(_HOLDER_MAX_BYTES).decode(errors="replace").strip()
    except OSError:
        text = ""
    return text or "another process"


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    _SAFELY = 0
    _FAR = 1 << 30

    def _try_lock(descriptor: int) -> bool:
        # Windows locks bytes, and a locked byte cannot be read: lock one far past the text.
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True

    def _is_free(descriptor: int) -> bool:
        return _try_lock(descriptor)
else:
    _SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK

    def _try_lock(descriptor: int) -> bool:
        return _flock(descriptor, fcntl.LOCK_EX)

    def _is_free(descriptor: int) -> bool:
        return _flock(descriptor, fcntl.LOCK_SH)

    def _flock(descriptor: int, kind: int) -> bool:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
