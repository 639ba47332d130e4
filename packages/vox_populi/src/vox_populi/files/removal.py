"""Removing and renaming our own files without following links."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def is_own_folder(path: Path) -> bool:
    """Whether a path is a folder itself; a link to one is not ours."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def remove_entry(path: Path) -> None:
    """Remove a file, a link (never its target) or a folder with its contents.

    Raises:
        OSError: When the system refuses.
    """
    if is_own_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink()


def remove_entries(folder: Path, is_ours: Callable[[str], bool]) -> None:
    """Remove the entries of a folder with matching names; what cannot be removed stays.

    Nothing happens if there is no folder, or only a link to one.
    """
    for entry in folder.iterdir() if is_own_folder(folder) else ():
        if is_ours(entry.name):
            with suppress(OSError):
                remove_entry(entry)


def free_name(path: Path, suffix: str) -> Path:
    """The first free path among `<name><suffix>-1`, `-2` and so on."""
    number = 1
    while _is_there(kept := path.with_name(f"{path.name}{suffix}-{number}")):
        number += 1
    return kept


def move_aside(folder: Path) -> Path:
    """Rename a folder to the next free name `<name>.old-N`, and return that.

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
