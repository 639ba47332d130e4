"""The folder of one run: locked while it is written, with every file complete or absent."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from vox_populi.adapters.v3.manifest import MANIFEST_V3_FILE
from vox_populi.adapters.v3.names import QLORA_ADAPTER_FILE
from vox_populi.adapters.v3.version2 import META_V2_FILE
from vox_populi.errors import ArtifactError, EnvironmentFailure, PreflightError
from vox_populi.files.folder_lock import LOCK_NAME, FolderLock
from vox_populi.files.known_names import MANIFEST_FILE, REQUEST_FILE
from vox_populi.files.made_folders import make_folders, remove_empty
from vox_populi.files.output_guard import is_occupied
from vox_populi.files.removal import name_aside, remove_entries
from vox_populi.files.whole_file import Chunk, pretty_json, write_whole, writing
from vox_populi.operator_messages import checkpoint as say_checkpoint
from vox_populi.operator_messages import environment as say_environment
from vox_populi.runs.check_rows import CHECK_ROWS_FILE
from vox_populi.runs.checkpoint_dir import remove_leftovers, require_own_checkpoints
from vox_populi.runs.samples import SAMPLES_FILE
from vox_tensor.atomic_file import is_temporary

ADAPTER_FILE = "model_final.bin"
PREFLIGHT_FILE = "training-preflight.json"
TELEMETRY_FILE = "telemetry.jsonl"
TIMES_FILE = "run_times.json"
MODEL_CARD_FILE = "MODEL_CARD.md"
BASE_LOCATION_FILE = "base_location.json"

KNOWN_FILES = {
    "request": REQUEST_FILE,
    "adapter": ADAPTER_FILE,
    "manifest": MANIFEST_FILE,
    "preflight": PREFLIGHT_FILE,
    "telemetry": TELEMETRY_FILE,
    "model_card": MODEL_CARD_FILE,
    "times": TIMES_FILE,
    "check_rows": CHECK_ROWS_FILE,
    "base_location": BASE_LOCATION_FILE,
    "samples": SAMPLES_FILE,
}
"""File names by kind; `--json` output uses the kinds."""

QLORA_FILES = {
    "adapter": QLORA_ADAPTER_FILE,
    "adapter_meta": META_V2_FILE,
    "adapter_manifest": MANIFEST_V3_FILE,
}
"""Files of a QLoRA run instead of `KNOWN_FILES["adapter"]`."""


def run_files(run: Path) -> dict[str, Path]:
    """Paths of the existing files of a run folder, by kind."""
    names = [*KNOWN_FILES.items(), *QLORA_FILES.items()]
    return {kind: run / name for kind, name in names if (run / name).is_file()}


def final_adapter(run: Path) -> Path | None:
    """The final adapter of a run, for any kernel; `None` while there is none."""
    return run_files(run).get("adapter")


def require_regular_files(run: Path) -> None:
    """Refuse a folder, pipe, socket or device with the name of a run's file.

    Raises:
        ArtifactError: With one problem for each.
    """
    names = {*KNOWN_FILES.values(), *QLORA_FILES.values(), LOCK_NAME}
    special = [name for name in sorted(names) if _is_special(run / name)]
    if special:
        raise ArtifactError(
            *(say_checkpoint.RUN_FILE_NOT_REGULAR.at(str(run / name)) for name in special)
        )


def _is_special(path: Path) -> bool:
    return os.path.lexists(path) and not path.is_symlink() and not path.is_file()


class RunDir:
    """A run folder locked by this process until the `with` block ends.

    Nothing in it changes before `begin` or the first file: a run that is refused before then
    leaves everything as it was.
    """

    def __init__(
        self,
        path: Path,
        lock: FolderLock,
        created: Sequence[Path] = (),
        *,
        is_replaced: bool = False,
    ) -> None:
        self.path = path
        self._lock, self._created, self._is_replaced = lock, created, is_replaced
        self._is_begun = False

    @classmethod
    def create(cls, path: Path, *, force: bool = False) -> RunDir:
        """Make and lock a run folder.

        Args:
            path: The folder; missing parents are created.
            force: Keep a folder with content under another name (`<name>.old-1`, …) instead of
                refusing it; done by `begin`.

        Raises:
            PreflightError: For a folder that is not empty.
            EnvironmentFailure: For a path that is not a folder or is a link, a folder that is
                locked by another process, or that cannot be written.
        """
        created, lock = _make_and_lock(path)
        try:
            occupied = is_occupied(entry.name for entry in path.iterdir())
            if occupied and not force:
                is_run = (path / REQUEST_FILE).is_file()
                raise PreflightError(
                    say_environment.output_folder_occupied(str(path), is_run=is_run)
                )
        except BaseException:
            lock.release()
            raise
        return cls(path, lock, created, is_replaced=occupied)

    @classmethod
    def reopen(cls, path: Path) -> RunDir:
        """Lock the folder of a run to continue in it; a new or empty folder is accepted too.

        Raises:
            PreflightError: For a folder with other content.
            ArtifactError: For a special file in place of one of the run's.
            EnvironmentFailure: As for `create`, and for a link in place of its checkpoints.
        """
        created, lock = _make_and_lock(path)
        try:
            if (
                is_occupied(entry.name for entry in path.iterdir())
                and not (path / REQUEST_FILE).is_file()
            ):
                raise PreflightError(say_checkpoint.OUTPUT_FOLDER_IS_NO_RUN.at(str(path)))
            require_own_checkpoints(path)
            require_regular_files(path)
        except BaseException:
            lock.release()
            raise
        return cls(path, lock, created)

    def begin(self) -> None:
        """Rename a folder with content, or remove a killed process's leftovers; done once.

        Raises:
            EnvironmentFailure: When the system refuses.
        """
        if self._is_begun:
            return
        self._is_begun = True
        if self._is_replaced:
            _move_aside(self.path, self._lock)
            self._lock.release()
            _, self._lock = _make_and_lock(self.path)
        else:
            _remove_leftovers(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()
        if not self._is_begun:
            remove_empty(self._created)

    def file(self, name: str) -> Path:
        """Path of a file in the folder; `name` is a bare file name."""
        if Path(name).name != name:
            message = f"{name!r} is not a bare file name"
            raise ValueError(message)
        return self.path / name

    def write_atomic(self, name: str, *chunks: Chunk) -> Path:
        """Write a file atomically.

        Raises:
            EnvironmentFailure: When the system refuses; no partial file is left.
        """
        path = self.file(name)
        self.begin()
        write_whole(path, *chunks)
        return path

    def write_json(self, name: str, value: Mapping[str, object]) -> Path:
        """Write a JSON document atomically."""
        return self.write_atomic(name, pretty_json(value))


def _make_and_lock(path: Path) -> tuple[Sequence[Path], FolderLock]:
    """Create and lock the folder; return the created folders and the lock."""
    if path.is_symlink():
        raise EnvironmentFailure(say_environment.OUTPUT_FOLDER_IS_LINK.at(str(path)))
    try:
        created = make_folders(path)
    except (FileExistsError, NotADirectoryError) as error:
        raise EnvironmentFailure(say_environment.OUTPUT_NOT_A_FOLDER.at(str(path))) from error
    except OSError as error:
        raise EnvironmentFailure(say_environment.file_not_written(error).at(str(path))) from error
    try:
        return created, FolderLock.acquire(path)
    except BaseException:
        remove_empty(created)
        raise


def _remove_leftovers(path: Path) -> None:
    """Remove a killed process's leftovers; we have the lock, so nobody else writes here."""
    remove_entries(path, is_temporary)
    remove_leftovers(path)


def _move_aside(path: Path, lock: FolderLock) -> None:
    real = path.resolve()
    old_path = name_aside(real)
    with writing(path):
        real.rename(old_path)
    lock.path = old_path / LOCK_NAME
