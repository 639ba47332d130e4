"""Checking that an output may be written to its path; every command does this before it writes.

An output, or a folder renamed for one, must not contain an input; an output is not a link, has
enough space, and replaces nothing unless requested. This module only checks and writes nothing.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vox_populi.errors import EnvironmentFailure, PreflightError
from vox_populi.files.folder_lock import LOCK_NAME, lock_holder
from vox_populi.operator_messages import environment as say
from vox_tensor.atomic_file import is_temporary
from vox_tensor.errors import Problem, cause


class IfOccupied(StrEnum):
    """What a command does if its output folder is not empty."""

    REFUSE = "refuse"
    MOVE_ASIDE = "move aside"
    CONTINUE = "continue"
    """Continue in it, if it is the folder of a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """The inputs of a command, which must not be moved."""

    whole: tuple[Path, ...] = ()
    """Files, and folders into which no output may be written."""
    kept: tuple[Path, ...] = ()
    """Folders of which only some files are inputs: an output may be created next to them."""


def require_apart(output: Path, reads: Reads) -> None:
    """Refuse an output folder that is, contains or is inside an input.

    Links and other spellings of a path count as the same place.

    Raises:
        PreflightError: With the input.
    """
    for source in (*reads.whole, *reads.kept):
        is_inside = source in reads.whole and _is_within(output, source)
        if is_inside or any(_is_within(place, output) for place in _places(source)):
            raise PreflightError(say.output_overlaps(str(source)).at(str(output)))


def require_movable(output: Path) -> None:
    """Refuse to rename or replace the working folder or one of its parents.

    Raises:
        PreflightError: When it is one of these.
    """
    if os.path.lexists(output) and _is_within(Path.cwd(), output):
        raise PreflightError(say.OUTPUT_HOLDS_WORKING_FOLDER.at(str(output)))


def names_in(output: Path) -> tuple[str, ...]:
    """The entries of an output folder; none if it does not exist yet.

    Raises:
        EnvironmentFailure: For a link, a path that is not a folder, or a folder locked by
            another process.
    """
    where = str(output)
    try:
        if output.is_symlink():
            raise EnvironmentFailure(say.OUTPUT_FOLDER_IS_LINK.at(where))
        names = tuple(entry.name for entry in output.iterdir())
    except FileNotFoundError:
        return ()
    except NotADirectoryError as error:
        raise EnvironmentFailure(say.OUTPUT_NOT_A_FOLDER.at(where)) from error
    except OSError as error:
        raise EnvironmentFailure(say.output_not_writable(cause(error)).at(where)) from error
    holder = lock_holder(output) if LOCK_NAME in names else None
    if holder is not None:
        raise EnvironmentFailure(say.folder_locked(holder).at(where))
    return names


def is_occupied(names: Iterable[str]) -> bool:
    """Whether a folder has more than the lock and partial files of a killed process."""
    return not all(name == LOCK_NAME or is_temporary(name) for name in names)


def nearest_folder(path: Path) -> Path:
    """The path itself or the first of its parents that exists.

    Raises:
        NotADirectoryError: When that is not a folder.
        OSError: When the system refuses.
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
    """Refuse a place that cannot be written, or whose disk has too little space.

    Args:
        output: The future folder.
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
        raise EnvironmentFailure(say.OUTPUT_NOT_A_FOLDER.at(where)) from error
    except OSError as error:
        raise EnvironmentFailure(say.output_not_writable(cause(error)).at(where)) from error
    problems = []
    if not os.access(folder, os.W_OK | os.X_OK):
        reason = f"{folder} is read-only for this user"
        problems.append(say.output_not_writable(reason).at(where))
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
    """Refuse a place to which no new folder can be renamed.

    Args:
        output: The future folder; an empty one counts as missing.
        reads: The command's inputs.
        force: Whether a folder that is not empty will be renamed.
        occupied: The problem of one that is not renamed.

    Raises:
        PreflightError: When it overlaps an input, is or contains the working folder, or is not
            empty.
        EnvironmentFailure: As `names_in`.
    """
    require_apart(output, reads)
    names = names_in(output)
    if is_occupied(names) and not force:
        raise PreflightError(occupied(str(output)))
    require_movable(output)


def require_new_file(output: Path, exists: Callable[[str], Problem]) -> None:
    """Refuse a path that exists, in particular a link.

    Raises:
        PreflightError: When there is.
    """
    if os.path.lexists(output):
        raise PreflightError(exists(str(output)))


def _places(source: Path) -> Iterator[Path]:
    """A file or folder, and the targets of links in a folder."""
    yield source
    try:
        yield from (entry for entry in source.iterdir() if entry.is_symlink())
    except OSError:
        return


def _is_within(inner: Path, outer: Path) -> bool:
    """Whether a path is or is below another, regardless of their spelling."""
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
    """Whether two paths are the same by file system identity, since some ignore case."""
    try:
        return os.path.samestat(path.stat(), status)
    except OSError:
        return False
