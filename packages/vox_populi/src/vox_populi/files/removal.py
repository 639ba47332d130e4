"""Removing, renaming and publishing our folders, without following a link."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from vox_tensor.atomic_file import sync_folder


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


def name_aside(folder: Path) -> Path:
    """The next free name `<name>.old-N`, under which a replaced folder is kept."""
    return free_name(folder, ".old")


def publish_folder(made: Path, target: Path, old: Path | None) -> None:
    """Put a finished folder in place with one rename; the caller syncs the folder they are in.

    Args:
        made: The folder, next to the target; every file in it is on the disk already.
        target: The new path; without an `old`, it does not exist or is an empty folder.
        old: The name that the folder at the target gets first.

    Raises:
        OSError: When the system refuses; the target is then what it was.
    """
    sync_folder(made)
    if old is not None:
        target.rename(old)
    try:
        if os.name == "nt" and target.is_dir():
            target.rmdir()  # empty; a rename does not replace folders there
        made.rename(target)
    except OSError:
        if old is not None:
            old.rename(target)
        raise


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except OSError:
        return False
    return True
