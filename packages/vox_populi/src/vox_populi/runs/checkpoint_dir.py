"""Checkpoints of a run: folders that appear complete, in one rename, and are verified by digest.

`checkpoints/step-20/` has the files of a state, and `manifest.json` with size and SHA-256 of each;
`checkpoints/latest` has the name of the newest one, and `checkpoints/best` that of the one with the
lowest held-out loss, for people, scripts and every command that takes a checkpoint.

`checkpoint_state` decides which files a state has. No torch here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vox_populi.errors import ArtifactError, EnvironmentFailure, ModelError
from vox_populi.files.json_fields import FieldError, take, take_count, take_object
from vox_populi.files.model_file import open_model_file
from vox_populi.files.new_file import write_new_file
from vox_populi.files.removal import is_own_folder, publish_folder, remove_entries, remove_entry
from vox_populi.files.strict_json import read_json_object
from vox_populi.files.whole_file import Chunk, pretty_json, write_whole
from vox_populi.operator_messages import checkpoint as say_checkpoint
from vox_populi.operator_messages import environment as say_environment
from vox_tensor.atomic_file import is_temporary, sync_folder, temporary_name
from vox_tensor.regular_file import open_regular

CHECKPOINTS_FOLDER = "checkpoints"
CHECKPOINT_ADAPTER = "adapter.bin"
CHECKPOINT_MANIFEST = "manifest.json"
LATEST_FILE = "latest"
BEST_FILE = "best"
CHECKPOINT_SCHEMA_VERSION = 1
_PREFIX = "step-"
_MAX_MANIFEST_BYTES = 1 << 20
_MAX_NAME_BYTES = 64


class CheckpointDamagedError(ArtifactError):
    """A checkpoint whose content is not what was written; an older one may be used instead."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder with the name of a checkpoint; `check_checkpoint` checks that it is one."""

    path: Path
    step: int

    @property
    def name(self) -> str:
        """`step-<N>`."""
        return self.path.name

    def file(self, name: str) -> Path:
        """Path of one of its files."""
        return self.path / name


def checkpoint_at(path: Path) -> Checkpoint | None:
    """The checkpoint of a path, if it ends in `step-<N>`."""
    digits = path.name.removeprefix(_PREFIX)
    is_named = path.name.startswith(_PREFIX) and digits.isascii() and digits.isdecimal()
    # `step-007` would be a second name for `step-7`.
    return Checkpoint(path, int(digits)) if is_named and digits == str(int(digits)) else None


def named_checkpoint(path: Path) -> Path:
    """The checkpoint that `checkpoints/best` or `checkpoints/latest` names; other paths stay."""
    if path.name not in (BEST_FILE, LATEST_FILE) or not path.is_file():
        return path
    if path.absolute().parent.name != CHECKPOINTS_FOLDER:
        return path
    try:
        with open_regular(path) as file:
            name = file.read(_MAX_NAME_BYTES).decode("ascii", errors="replace").strip()
    except OSError:
        return path
    is_one = name == Path(name).name and checkpoint_at(Path(name)) is not None
    return path.with_name(name) if is_one else path


def best_checkpoint(run: Path) -> Checkpoint | None:
    """The checkpoint that a run names as its best, if it has both."""
    file = run / CHECKPOINTS_FOLDER / BEST_FILE
    found = checkpoint_at(named_checkpoint(file))
    return found if found is not None and found.path.is_dir() else None


def list_checkpoints(run: Path) -> tuple[Checkpoint, ...]:
    """The checkpoints of a run folder, recognised only by name, in the order of their steps."""
    folder = run / CHECKPOINTS_FOLDER
    entries = folder.iterdir() if folder.is_dir() else ()
    found = (checkpoint_at(entry) for entry in entries)
    return tuple(sorted((each for each in found if each is not None), key=lambda each: each.step))


def write_checkpoint(
    run: Path,
    step: int,
    files: Mapping[str, Sequence[Chunk]],
    *,
    keep: int,
    best: int | None = None,
) -> Checkpoint:
    """Publish a checkpoint atomically, and then remove older ones.

    Every byte is on disk before the rename, and the rename is on disk before `latest` is updated
    and before anything older is removed. A folder of the same name, which can only be a damaged
    one that the run fell back from, is replaced.

    Args:
        run: The run folder, locked by this process.
        step: Optimizer steps done.
        files: Content by bare file name.
        keep: How many checkpoints to keep, including this one.
        best: Step of the best one, which is kept in addition and named.

    Raises:
        EnvironmentFailure: When the system refuses; earlier checkpoints are untouched.
    """
    folder = run / CHECKPOINTS_FOLDER
    require_own_checkpoints(run)
    target = folder / f"{_PREFIX}{step}"
    temporary = temporary_name(target)
    try:
        if not folder.is_dir():
            folder.mkdir()
            sync_folder(run)
        _fill(temporary, step, files)
        # A kill in between leaves the damaged one under a name that the next run removes.
        old = temporary_name(target, "replaced") if target.is_dir() else None
        publish_folder(temporary, target, old)
        sync_folder(folder)
    except OSError as error:
        remove_entries(folder, temporary.name.__eq__)
        raise EnvironmentFailure(say_environment.file_not_written(error).at(str(target))) from error
    write_whole(folder / LATEST_FILE, f"{target.name}\n".encode())
    _name_best(folder, best)
    _prune(run, step, keep, best)
    return Checkpoint(target, step)


def check_checkpoint(checkpoint: Checkpoint) -> None:
    """Read every byte of a checkpoint and compare it with its manifest.

    Raises:
        CheckpointDamagedError: With the file that is missing, cut or changed.
        ArtifactError: When a newer program wrote it.
    """
    path = checkpoint.path
    try:
        manifest = read_json_object(path / CHECKPOINT_MANIFEST, _MAX_MANIFEST_BYTES)
        version = take_count(manifest, "schema_version", lowest=1)
        step = take_count(manifest, "step")
        files = take_object(manifest, "files")
        expected = {name: _size_and_digest(files, name) for name in files}
    except ModelError as error:
        reason = f"{CHECKPOINT_MANIFEST}: {error.problems[0].what}"
        raise damaged(checkpoint, reason) from error
    except FieldError as error:
        raise damaged(checkpoint, f"{CHECKPOINT_MANIFEST}: {error}") from error
    if version > CHECKPOINT_SCHEMA_VERSION:
        raise ArtifactError(
            say_checkpoint.manifest_too_new(version, CHECKPOINT_SCHEMA_VERSION).at(str(path))
        )
    if step != checkpoint.step:
        raise damaged(checkpoint, f"{CHECKPOINT_MANIFEST} is of step {step}")
    for name, (size, digest) in expected.items():
        difference = _difference(path / name, size, digest)
        if difference is not None:
            raise damaged(checkpoint, f"{name} {difference}")


def damaged(checkpoint: Checkpoint, reason: str) -> CheckpointDamagedError:
    """The error for a checkpoint that cannot be used, with a reason."""
    return CheckpointDamagedError(
        say_checkpoint.checkpoint_damaged(reason).at(str(checkpoint.path))
    )


def require_own_checkpoints(run: Path) -> None:
    """Refuse a link or a file in place of a run's checkpoints, before anything in it is touched.

    Raises:
        EnvironmentFailure: When there is one.
    """
    folder = run / CHECKPOINTS_FOLDER
    if folder.is_symlink():
        raise EnvironmentFailure(say_environment.OUTPUT_FOLDER_IS_LINK.at(str(folder)))
    if os.path.lexists(folder) and not is_own_folder(folder):
        raise EnvironmentFailure(say_environment.OUTPUT_NOT_A_FOLDER.at(str(folder)))


def remove_leftovers(run: Path) -> None:
    """Remove a killed process's leftovers among the checkpoints; the caller has the lock."""
    remove_entries(run / CHECKPOINTS_FOLDER, is_temporary)


def _fill(temporary: Path, step: int, files: Mapping[str, Sequence[Chunk]]) -> None:
    if os.path.lexists(temporary):
        remove_entry(temporary)
    temporary.mkdir()
    facts = {}
    for name, chunks in files.items():
        written = write_new_file(temporary / name, chunks)
        facts[name] = {"bytes": written.size, "sha256": written.sha256}
    manifest = {"schema_version": CHECKPOINT_SCHEMA_VERSION, "step": step, "files": facts}
    write_new_file(temporary / CHECKPOINT_MANIFEST, [pretty_json(manifest)])


def _size_and_digest(files: Mapping[str, object], name: str) -> tuple[int, str]:
    if Path(name).name != name or name == CHECKPOINT_MANIFEST:
        message = f"{name!r} is not the name of a file in it"
        raise FieldError(message)
    facts = take_object(files, name)
    return take_count(facts, "bytes"), take(facts, "sha256", str)


def _difference(path: Path, size: int, digest: str) -> str | None:
    """How a file differs from its manifest entry, or `None`."""
    try:
        with open_model_file(path) as file:
            found = os.fstat(file.fileno()).st_size
            if found != size:
                return f"has {found} bytes instead of {size}"
            is_same = hashlib.file_digest(file, "sha256").hexdigest() == digest
    except ModelError:
        return "is missing or cannot be read"
    return None if is_same else "is not what was written (SHA-256)"


def _name_best(folder: Path, step: int | None) -> None:
    """Write the name of the best checkpoint, or remove a name that is no longer true."""
    if step is not None and (folder / f"{_PREFIX}{step}").is_dir():
        write_whole(folder / BEST_FILE, f"{_PREFIX}{step}\n".encode())
    else:
        remove_entries(folder, BEST_FILE.__eq__)


def _prune(run: Path, step: int, keep: int, best: int | None) -> None:
    """Remove the oldest checkpoints up to a step; later ones a run fell back from stay.

    Each is renamed first, so that a kill never leaves a partial one under its name. A
    checkpoint that cannot be removed only costs disk space.
    """
    up_to_now = [each for each in list_checkpoints(run) if each.step <= step]
    for each in (each for each in up_to_now[:-keep] if each.step != best):
        doomed = temporary_name(each.path)
        with suppress(OSError):
            each.path.rename(doomed)
    remove_leftovers(run)
