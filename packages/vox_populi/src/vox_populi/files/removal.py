"""Removing and renaming what is ours, without a step through a link."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def is_own_folder(path: Path) -> bool:
    """Whether a folder is there itself; a link to one is somebody else's."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def remove_entry(path: Path) -> None:
    """Remove a file, a link (never what it leads to) or a folder with all it holds.

    Raises:
        OSError: When the system refuses.
    """
    if is_own_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink()


def remove_entries(folder: Path, is_ours: Callable[[str], bool]) -> None:
    """Remove the entries of a folder that have such names; what cannot be removed stays.

    Nothing happens where there is no folder, or a link to one.
    """
    for entry in folder.iterdir() if is_own_folder(folder) else ():
        if is_ours(entry.name):
            with suppress(OSError):
                remove_entry(entry)


def free_name(path: Path, suffix: str) -> Path:
    """The first of `<name><suffix>-1`, `-2`, … beside a path under which nothing is."""
    number = 1
    while _is_there(kept := path.with_name(f"{path.name}{suffix}-{number}")):
        number += 1
    return kept


def move_aside(folder: Path) -> Path:
    """Give a folder the next free name `<name>.old-N`, and return that.

    Raises:
        OSError: When the system refuses.
    """
    kept = free_name(folder, ".old")
    folder.rename(kept)
    return kept


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except OSError:
        return False
    return True
