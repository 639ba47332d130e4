"""Whether a run folder can be made and filled; looks only, and writes nothing."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vox_populi import operator_messages as say
from vox_populi.plan.findings import Findings

if sys.platform != "win32":
    import fcntl

LOCK_NAME = ".run.lock"
"""`artifacts.folder_lock.LOCK_NAME`: that layer comes later; a test compares."""

REQUEST_NAME = "request.json"
"""`artifacts.run_dir.REQUEST_FILE`, the first file of every run folder; a test compares."""

_HOLDER_MAX_BYTES = 400
_ADAPTERS_PER_CHECKPOINT = 4
"""The adapter, two moments, and with early stopping the best adapter."""
_BESIDES_ADAPTER = 16 * 2**20
"""Room for telemetry, manifests and the model card."""


class IfOccupied(StrEnum):
    """What a run will do about an output folder that holds something."""

    REFUSE = "refuse"
    MOVE_ASIDE = "move aside"
    CONTINUE = "continue"
    """Go on in it, if it is the folder of a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderUse:
    """What a run will do with its output folder."""

    if_occupied: IfOccupied = IfOccupied.REFUSE
    most_checkpoints: int = 0
    """How many are on disk at the same time."""


AS_NEW_FOLDER = FolderUse()


def check_output_folder(
    path: Path, adapter_bytes: int, found: Findings, use: FolderUse = AS_NEW_FOLDER
) -> None:
    """Report a folder that is used, locked, no folder, a link, not writable or on a full disk.

    Args:
        path: The folder to be; it and its parents may not exist yet.
        adapter_bytes: Size of the adapter. Twice that must be free, since a file is written
            beside the one it replaces, and four times that for each checkpoint.
        found: Takes the problems.
        use: What the run will do with it.
    """
    where = str(path)
    try:
        if path.is_symlink():
            found.blame_environment([say.output_folder_is_link(where)])
            return
        folder = _nearest_folder(path)
        if folder == path:
            _check_content(path, found, use.if_occupied)
        free = shutil.disk_usage(folder).free
    except NotADirectoryError:
        found.blame_environment([say.output_not_a_folder(where)])
        return
    except OSError as error:
        reason = error.strerror or type(error).__name__
        found.blame_environment([say.output_not_writable(where, reason)])
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        reason = f"{folder} is read-only for this user"
        found.blame_environment([say.output_not_writable(where, reason)])
    needed = (2 + _ADAPTERS_PER_CHECKPOINT * use.most_checkpoints) * adapter_bytes
    needed += _BESIDES_ADAPTER
    if free < needed:
        found.blame_environment([say.disk_too_small(where, needed, free)])


def check_cache_folder(path: Path, found: Findings) -> None:
    """Report a place where no folder of quantised bases is or can be made.

    One that is there but read-only may hold what is needed; that is seen when it is used.
    """
    try:
        folder = _nearest_folder(path)
    except NotADirectoryError:
        found.blame_environment([say.nf4_cache_unusable(str(path), "a file is in the way")])
        return
    except OSError as error:
        reason = error.strerror or type(error).__name__
        found.blame_environment([say.nf4_cache_unusable(str(path), reason)])
        return
    if folder != path and not os.access(folder, os.W_OK | os.X_OK):
        reason = f"{folder} is read-only for this user"
        found.blame_environment([say.nf4_cache_unusable(str(path), reason)])


def _nearest_folder(path: Path) -> Path:
    """The path itself or the first of its parents that exists.

    Raises:
        NotADirectoryError: When that is no folder.
        OSError: When the system does not say.
    """
    for candidate in (path, *path.parents):
        try:
            mode = candidate.stat().st_mode
        except FileNotFoundError:
            if candidate.is_symlink():
                raise
            continue
        if not stat.S_ISDIR(mode):
            raise NotADirectoryError
        return candidate
    raise FileNotFoundError


def _check_content(path: Path, found: Findings, if_occupied: IfOccupied) -> None:
    names = [entry.name for entry in path.iterdir()]
    holder = _lock_holder(path / LOCK_NAME) if LOCK_NAME in names else None
    if holder is not None:
        found.blame_environment([say.folder_locked(str(path), holder)])
    elif any(not _is_leftover(name) for name in names):
        if if_occupied is IfOccupied.REFUSE:
            is_run = REQUEST_NAME in names
            found.refuse([say.output_folder_occupied(str(path), is_run=is_run)])
        elif if_occupied is IfOccupied.CONTINUE and REQUEST_NAME not in names:
            found.refuse([say.output_folder_is_no_run(str(path))])


def _is_leftover(name: str) -> bool:
    """Whether an entry is what a killed run leaves before its first whole file."""
    return name == LOCK_NAME or (name.startswith(".") and name.endswith(".tmp"))


def _lock_holder(path: Path) -> str | None:
    """Who holds the lock, in the holder's own words, or `None` when nobody does."""
    if sys.platform == "win32":
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(descriptor, _HOLDER_MAX_BYTES).decode(errors="replace").strip()
        return text or "another process"
    except OSError:
        return None
    else:
        return None
    finally:
        os.close(descriptor)
