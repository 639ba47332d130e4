"""The folder of the row cache: where it is, and what is removed from it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from vox_populi.data.row_cache.entry_name import ENTRY_PREFIX
from vox_populi.errors import EnvironmentFailure
from vox_populi.files.folder_lock import FolderLock
from vox_populi.files.removal import is_own_folder, remove_entry

MOST_BYTES = 64 * 2**30
"""Size of all entries together; the least recently used ones beyond it are removed."""
_STAGING = (f".{ENTRY_PREFIX}", ".merging")
_ASIDE = ".old-"


def user_cache_folder() -> Path | None:
    """The folder of this user; `None` for a user without a home."""
    try:
        return _system_cache() / "vox-mens"
    except RuntimeError:
        return None


def _system_cache() -> Path:
    asked = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(asked):  # noqa: PTH117 - the text may be empty
        return Path(asked)
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return Path(local) if local else Path.home() / "AppData" / "Local"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path.home() / ".cache"


def entries(folder: Path) -> list[Path]:
    """The entries of a cache, the most recently used ones first."""
    found = [
        (path.lstat().st_mtime_ns, path)
        for path in _own_folders(folder)
        if path.name.startswith(ENTRY_PREFIX) and _ASIDE not in path.name
    ]
    return [path for _, path in sorted(found, reverse=True)]


def entry_bytes(entry: Path) -> int:
    """Size of an entry's files; 0 once it is removed."""
    try:
        return sum(path.lstat().st_size for path in entry.iterdir())
    except OSError:
        return 0


def tidy(folder: Path, most_bytes: int = MOST_BYTES) -> None:
    """Remove what killed processes left, and entries beyond the size limit.

    What cannot be removed, or is in use by a process that writes it, stays.
    """
    for path in _own_folders(folder):
        if path.name.startswith(_STAGING[0]) and path.name.endswith(_STAGING[1]):
            _remove_unlocked(path)
        elif path.name.startswith(ENTRY_PREFIX) and _ASIDE in path.name:
            with suppress(OSError):
                remove_entry(path)
    total = 0
    for path in entries(folder):
        total += entry_bytes(path)
        if total > most_bytes:
            with suppress(OSError):
                remove_entry(path)


def _own_folders(folder: Path) -> Iterator[Path]:
    try:
        found = [Path(entry.path) for entry in os.scandir(folder)]
    except OSError:
        return
    yield from filter(is_own_folder, found)


def _remove_unlocked(staging: Path) -> None:
    try:
        lock = FolderLock.acquire(staging)
    except EnvironmentFailure:
        return
    with suppress(OSError):
        remove_entry(staging)
    lock.release()
