"""Finding the start of a run: step 0, a checkpoint, or none because it is complete."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from vox_populi.adapters.v3.names import QLORA_ADAPTER_FILE
from vox_populi.errors import ArtifactError, RunFailedError
from vox_populi.files.json_fields import FieldError, take, take_object
from vox_populi.files.known_names import MANIFEST_FILE, REQUEST_FILE
from vox_populi.files.removal import free_name
from vox_populi.operator_messages import adapter as say_adapter
from vox_populi.operator_messages import checkpoint as say_checkpoint
from vox_populi.operator_messages.wording import capped
from vox_populi.pipeline.train import Resume
from vox_populi.runs.checkpoint_bounds import RunExtent, check_extent
from vox_populi.runs.checkpoint_dir import (
    Checkpoint,
    CheckpointDamagedError,
    checkpoint_at,
    list_checkpoints,
    named_checkpoint,
)
from vox_populi.runs.checkpoint_dir import damaged as damaged_checkpoint
from vox_populi.runs.checkpoint_state import STATE_FILE, SavedState, read_state
from vox_populi.runs.manifest import read_manifest
from vox_populi.runs.request import RunRequest, read_run_request
from vox_populi.runs.run_dir import (
    QLORA_FILES,
    RunDir,
    final_adapter,
)
from vox_tensor.errors import Problem
from vox_tensor.regular_file import open_regular


@dataclass(frozen=True, slots=True, kw_only=True)
class StartingPoint:
    """The point from which a run continues; the default is the beginning."""

    checkpoint: Checkpoint | None = None
    step: int = 0
    """Optimizer steps done."""
    passed_over: tuple[str, ...] = ()
    """Names of newer checkpoints that are damaged."""
    notes: tuple[str, ...] = ()


_LENGTH_FLAGS = ("--max-steps", "--epochs")
"""Flags that people raise to continue a run that is complete."""


def is_complete(run: Path) -> bool:
    """Whether a run has written its adapter and, last, its manifest."""
    return final_adapter(run) is not None and (run / MANIFEST_FILE).is_file()


def refuse_another_request(run_dir: RunDir, request: RunRequest) -> None:
    """Compare the folder's request with the current one.

    Raises:
        RunFailedError: With every field that differs.
        ArtifactError: When the folder's record cannot be read.
    """
    path = run_dir.file(REQUEST_FILE)
    if not path.is_file():
        return
    problems = read_run_request(path).changes_to(request)
    adapter = final_adapter(run_dir.path)
    if adapter is not None and is_complete(run_dir.path):
        fix = say_checkpoint.longer_than_complete_run(str(adapter))
        problems = tuple(
            replace(each, fix=fix) if each.where in _LENGTH_FLAGS else each for each in problems
        )
    _raise_changes(problems)


def check_finished_adapter(run_dir: RunDir) -> dict[str, object]:
    """The manifest of a finished run, whose adapter must match it.

    Raises:
        ArtifactError: When either cannot be read or they do not belong together.
    """
    manifest = read_manifest(run_dir.file(MANIFEST_FILE))
    path = final_adapter(run_dir.path)
    assert path is not None, "a complete run has an adapter"
    try:
        written = take_object(manifest, "artifacts")
        digests = {name: take(take_object(written, name), "sha256", str) for name in written}
    except FieldError as error:
        raise ArtifactError(say_checkpoint.FINISHED_ADAPTER_CHANGED.at(str(path))) from error
    expected = QLORA_FILES.values() if path.name == QLORA_ADAPTER_FILE else (path.name,)
    if digests.keys() != set(expected):
        raise ArtifactError(say_checkpoint.FINISHED_ADAPTER_CHANGED.at(str(path)))
    for name in expected:
        _require_digest(run_dir.file(name), digests[name])
    return manifest


def find_start(
    run_dir: RunDir, resume: Resume, request: RunRequest, extent: RunExtent
) -> StartingPoint:
    """The newest complete checkpoint, or the given one.

    Damaged newer ones are skipped; those of this run folder are renamed.

    Raises:
        RunFailedError: When the checkpoint belongs to a different request.
        ArtifactError: When there are checkpoints and all are damaged, or the given one is damaged
            or missing.
    """
    own = list_checkpoints(run_dir.path)
    candidates = own if resume.source is None else _named(resume.source)
    saved, damaged = _choose(candidates, request, extent)
    if saved is None:
        return StartingPoint(notes=(say_checkpoint.NOTE_NOTHING_TO_RESUME,))
    notes = [
        say_checkpoint.note_resumed(saved.checkpoint.name, saved.state.step, extent.total_steps)
    ]
    names = tuple(checkpoint.name for checkpoint, _ in damaged)
    if damaged:
        reasons = [error.problems[0].what.rstrip(".") for _, error in damaged]
        notes.insert(0, say_checkpoint.note_checkpoints_damaged(names, reasons))
    for checkpoint in own:
        if checkpoint.name in names and resume.source is None:
            _set_aside(checkpoint)
    return StartingPoint(
        checkpoint=saved.checkpoint, step=saved.state.step, passed_over=names, notes=tuple(notes)
    )


def check_source(resume: Resume, request: RunRequest, extent: RunExtent) -> None:
    """Refuse an unusable given source before the output folder is created.

    Raises:
        RunFailedError: When it belongs to a different request.
        ArtifactError: When it is damaged or missing.
    """
    if resume.source is not None:
        _choose(_named(resume.source), request, extent)


def _require_digest(path: Path, written: str) -> None:
    try:
        with open_regular(path) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactError(say_adapter.artifact_unreadable(error).at(str(path))) from error
    if found != written:
        raise ArtifactError(say_checkpoint.FINISHED_ADAPTER_CHANGED.at(str(path)))


def _raise_changes(problems: Sequence[Problem]) -> None:
    if problems:
        raise RunFailedError(*capped(problems))


def _named(source: Path) -> Sequence[Checkpoint]:
    source = named_checkpoint(source)
    named = checkpoint_at(source.resolve())
    if named is not None and named.path.is_dir():
        return [Checkpoint(source, named.step)]
    found = list_checkpoints(source)
    if not found:
        raise ArtifactError(say_checkpoint.CHECKPOINT_MISSING.at(str(source)))
    return found


def _choose(
    candidates: Sequence[Checkpoint], request: RunRequest, extent: RunExtent
) -> tuple[SavedState | None, list[tuple[Checkpoint, CheckpointDamagedError]]]:
    """The newest readable checkpoint, and the newer unreadable ones; `None` without candidates."""
    damaged: list[tuple[Checkpoint, CheckpointDamagedError]] = []
    for checkpoint in reversed(candidates):
        try:
            saved = read_state(checkpoint)
            # Of another request, the counters are not this run's to judge.
            _raise_changes(saved.request.changes_to(request))
            _require_extent(saved, extent)
        except CheckpointDamagedError as error:
            damaged.append((checkpoint, error))
        else:
            return saved, damaged
    if damaged:
        problems = [problem for _, error in damaged for problem in error.problems]
        raise ArtifactError(*capped(problems))
    return None, damaged


def _require_extent(saved: SavedState, extent: RunExtent) -> None:
    try:
        check_extent(saved.state, extent)
    except FieldError as error:
        raise damaged_checkpoint(saved.checkpoint, f"{STATE_FILE}: {error}") from error


def _set_aside(checkpoint: Checkpoint) -> None:
    """Rename a damaged checkpoint so that it is not used; nothing is deleted."""
    target = checkpoint.path.with_name(f"{checkpoint.name}.damaged")
    if os.path.lexists(target):
        target = free_name(checkpoint.path, ".damaged")
    with suppress(OSError):
        checkpoint.path.rename(target)
