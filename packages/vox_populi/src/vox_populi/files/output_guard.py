"""May an output go where it was asked to go? Looked at by every command, before it writes.

Nothing that is read lies in an output, or in what is moved aside for one; an output is no link, has
room, and takes the place of nothing unless that was asked for. Looks only, and writes nothing.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vox_populi.errors import EnvironmentFailure, PreflightError
from vox_populi.files.folder_lock import LOCK_NAME, lock_holder
from vox_populi.operator_messages import environment as say
from vox_populi.operator_messages.wording import cause
from vox_tensor.atomic_file import is_temporary
from vox_tensor.errors import Problem


class IfOccupied(StrEnum):
    """What a command will do about an output folder that holds something."""

    REFUSE = "refuse"
    MOVE_ASIDE = "move aside"
    CONTINUE = "continue"
    """Go on in it, if it is the folder of a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """What a command reads, and what therefore stays where it is."""

    whole: tuple[Path, ...] = ()
    """Files, and folders that count as a whole: no output goes into one."""
    kept: tuple[Path, ...] = ()
    """Folders of which single files count: an output may be made beside those."""


def require_apart(output: Path, reads: Reads) -> None:
    """Refuse an output folder that is, holds, or lies in something that is read.

    Links and other spellings of a path lead to the same place.

    Raises:
        PreflightError: Naming what is read.
    """
    for source in (*reads.whole, *reads.kept):
        is_inside = source in reads.whole and _is_within(output, source)
        if is_inside or any(_is_within(place, output) for place in _places(source)):
            raise PreflightError(say.output_overlaps(str(output), str(source)))


def require_movable(output: Path) -> None:
    """Refuse to move, or to replace by a rename, the working folder or one that it is in.

    Raises:
        PreflightError: When it is one of these.
    """
    if os.path.lexists(output) and _is_within(Path.cwd(), output):
        raise PreflightError(say.output_holds_working_folder(str(output)))


def names_in(output: Path) -> tuple[str, ...]:
    """The entries of an output folder; none where it is not there yet.

    Raises:
        EnvironmentFailure: For a link, something that is no folder, or a folder that another
            process holds.
    """
    where = str(output)
    try:
        if output.is_symlink():
            raise EnvironmentFailure(say.output_folder_is_link(where))
        names = tuple(entry.name for entry in output.iterdir())
    except FileNotFoundError:
        return ()
    except NotADirectoryError as error:
        raise EnvironmentFailure(say.output_not_a_folder(where)) from error
    except OSError as error:
        raise EnvironmentFailure(say.output_not_writable(where, cause(error))) from error
    holder = lock_holder(output) if LOCK_NAME in names else None
    if holder is not None:
        raise EnvironmentFailure(say.folder_locked(where, holder))
    return names


def is_occupied(names: tuple[str, ...]) -> bool:
    """Whether a folder holds more than the lock and the torn files of a killed process."""
    return not all(name == LOCK_NAME or is_temporary(name) for name in names)


def nearest_folder(path: Path) -> Path:
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


def require_room(output: Path, needed: int, too_small: Callable[[str, int, int], Problem]) -> None:
    """Refuse a place that cannot be written, or whose disk has too little room.

    Args:
        output: The folder to be.
        needed: Bytes.
        too_small: The problem of a disk, from the path and the bytes needed and free.

    Raises:
        EnvironmentFailure: For either.
    """
    where = str(output)
    try:
        folder = nearest_folder(output)
        free = shutil.disk_usage(folder).free
    except NotADirectoryError as error:
        raise EnvironmentFailure(say.output_not_a_folder(where)) from error
    except OSError as error:
        raise EnvironmentFailure(say.output_not_writable(where, cause(error))) from error
    problems = []
    if not os.access(folder, os.W_OK | os.X_OK):
        reason = f"{folder} is read-only for this user"
        problems.append(say.output_not_writable(where, reason))
    if free < needed:
        problems.append(too_small(where, needed, free))
    if problems:
        raise EnvironmentFailure(*problems)


def require_new_folder(
    output: Path,
    reads: Reads,
    *,
    force: bool = False,
    occupied: Callable[[str], Problem] = say.output_folder_occupied,
) -> None:
    """Refuse a place where no new folder can appear by a rename.

    Args:
        output: The folder to be; an empty one counts as not there.
        reads: What the command reads.
        force: Whether a folder that holds something will be moved aside.
        occupied: The problem of one that is not.

    Raises:
        PreflightError: When it overlaps what is read, is or holds the working folder, or holds
            something.
        EnvironmentFailure: As `names_in`.
    """
    require_apart(output, reads)
    names = names_in(output)
    if is_occupied(names) and not force:
        raise PreflightError(occupied(str(output)))
    require_movable(output)


def require_new_file(output: Path, exists: Callable[[str], Problem]) -> None:
    """Refuse a path that something is at, a link above all.

    Raises:
        PreflightError: When there is.
    """
    if os.path.lexists(output):
        raise PreflightError(exists(str(output)))


def _places(source: Path) -> Iterator[Path]:
    """A file or folder, and what the links in a folder lead to."""
    yield source
    try:
        yield from (entry for entry in source.iterdir() if entry.is_symlink())
    except OSError:
        return


def _is_within(inner: Path, outer: Path) -> bool:
    """Whether a path is another one or below it, whatever either is called."""
    real_inner, real_outer = inner.resolve(), outer.resolve()
    chain = (real_inner, *real_inner.parents)
    if real_outer in chain:
        return True
    try:
        wanted = real_outer.stat()
    except OSError:
        return False
    return any(_is_same(path, wanted) for path in chain)


def _is_same(path: Path, status: os.stat_result) -> bool:
    """By the file system's own identity: some take upper and lower case for one."""
    try:
        return os.path.samestat(path.stat(), status)
    except OSError:
        return False
