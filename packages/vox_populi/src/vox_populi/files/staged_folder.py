"""A folder that appears complete: built under another name, then renamed once.

The staging folder, `.<name>.merging` next to the target, has the lock: two commands with one target
exclude each other, and leftovers of a killed one are removed by the next. An existing target is
locked as well, so that no run is replaced while it is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from vox_populi.errors import EnvironmentFailure, PreflightError
from vox_populi.files.folder_lock import LOCK_NAME, FolderLock
from vox_populi.files.made_folders import make_folders, remove_empty
from vox_populi.files.new_file import write_new_file
from vox_populi.files.output_guard import is_occupied, names_in
from vox_populi.files.removal import (
    is_own_folder,
    name_aside,
    publish_folder,
    remove_entries,
    remove_entry,
)
from vox_populi.files.whole_file import writing
from vox_populi.operator_messages import environment as say_environment
from vox_tensor.atomic_file import is_temporary, sync_folder


class StagedFolder:
    """A locked staging folder; it is removed unless it is published."""

    def __init__(
        self,
        target: Path,
        path: Path,
        lock: FolderLock,
        old: FolderLock | None,
        created: Sequence[Path],
    ) -> None:
        self.path = path
        """The folder to write to."""
        self._target, self._lock, self._old, self._created = target, lock, old, created
        self._is_published = False

    @classmethod
    def create(cls, target: Path, *, force: bool = False) -> StagedFolder:
        """Lock the target and create an empty folder next to it.

        Args:
            target: The future folder; missing parents are created.
            force: Keep an existing target under another name (`<name>.old-1`, …).

        Raises:
            PreflightError: For a target that is not empty.
            EnvironmentFailure: For a target that is not a folder, a link, locked by another
                process or in a folder that cannot be written; for a foreign entry under the name
                of the staging folder.
        """
        names = names_in(target)
        is_replaced = is_occupied(names)
        if is_replaced and not force:
            raise PreflightError(say_environment.output_folder_occupied(str(target)))
        real = target.resolve()
        path = real.with_name(f".{real.name}.merging")
        with ExitStack() as undo:
            with writing(target):
                created = make_folders(real.parent)
                # Whoever finds it there must first get its lock.
                path.mkdir(exist_ok=True)
            _require_ours(path)
            lock = FolderLock.acquire(path)
            undo.callback(_abandon, path, lock, created)
            with writing(path):
                _empty(path)
            if names and not is_replaced:
                _remove_leftovers(real)
            old = FolderLock.acquire(real) if is_replaced else None
            undo.pop_all()
        return cls(real, path, lock, old, created)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_published:
            self._lock.release()
        else:
            _abandon(self.path, self._lock, self._created)
        if self._old is not None:
            self._old.release()

    def write(self, name: str, data: bytes) -> Path:
        """Write a complete file and sync it to disk.

        Raises:
            EnvironmentFailure: When the system refuses.
        """
        path = self.path / name
        with writing(path):
            if path.parent != self.path:
                path.parent.mkdir(exist_ok=True)
            write_new_file(path, [data])
            if path.parent != self.path:
                sync_folder(path.parent)
        return path

    def files(self) -> tuple[str, ...]:
        """The sorted names of the written files."""
        return tuple(sorted(e.name for e in self.path.iterdir() if e.name != LOCK_NAME))

    def clear(self) -> None:
        """Remove what was written, to start over.

        Raises:
            EnvironmentFailure: When the system refuses.
        """
        with writing(self.path):
            _empty(self.path)

    def publish(self) -> Path | None:
        """Move the folder into place with one rename; every file must be synced.

        Returns:
            The new path of an existing target.

        Raises:
            EnvironmentFailure: When the system refuses; the target is then unchanged.
        """
        old_path = None if self._old is None else name_aside(self._target)
        try:
            publish_folder(self.path, self._target, old_path)
            self._is_published = True
            self._lock.path = self._target / LOCK_NAME
            if self._old is not None and old_path is not None:
                self._old.path = old_path / LOCK_NAME
            sync_folder(self._target.parent)
        except OSError as error:
            where = str(self._target)
            raise EnvironmentFailure(
                say_environment.folder_not_published(error).at(where)
            ) from error
        return old_path


@contextmanager
def new_folder(path: Path) -> Iterator[StagedFolder]:
    """Fill a folder that gets its name when the block succeeds, replacing nothing.

    Everything written with `write_whole` is on disk before the rename, and the rename is on disk
    before this returns. When the block raises, nothing is left.

    Raises:
        PreflightError: When the path already exists.
        EnvironmentFailure: When the system refuses.
    """
    with StagedFolder.create(path) as staged:
        yield staged
        staged.publish()


def _require_ours(staging: Path) -> None:
    """Refuse to empty a folder that only has the name of a staging folder.

    Ours have their lock from the start, and a killed command leaves it there.

    Raises:
        EnvironmentFailure: For a link, or a folder with content but no lock.
    """
    where = str(staging)
    if not is_own_folder(staging):
        raise EnvironmentFailure(say_environment.OUTPUT_FOLDER_IS_LINK.at(where))
    names = {entry.name for entry in staging.iterdir()}
    if names and LOCK_NAME not in names:
        raise EnvironmentFailure(say_environment.STAGING_FOLDER_FOREIGN.at(where))


def _remove_leftovers(target: Path) -> None:
    """Empty a target in which a killed run left its lock or partial files."""
    lock = FolderLock.acquire(target)
    try:
        remove_entries(target, is_temporary)
    finally:
        lock.release()


def _abandon(staging: Path, lock: FolderLock, created: Sequence[Path]) -> None:
    """Remove what was created; what cannot be removed stays, as after a killed command."""
    try:
        _empty(staging)
    except OSError:
        lock.release(keep_file=True)
        return
    lock.release()
    with suppress(OSError):
        staging.rmdir()
    remove_empty(created)


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.name != LOCK_NAME:
            remove_entry(entry)
