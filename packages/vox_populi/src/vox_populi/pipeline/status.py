"""Summarising a run from its folder. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vox_populi.errors import ArtifactError
from vox_populi.events import EventName
from vox_populi.files.folder_lock import lock_holder
from vox_populi.files.json_report import JsonReport
from vox_populi.files.known_names import MANIFEST_FILE
from vox_populi.operator_messages import checkpoint as say_checkpoint
from vox_populi.runs.checkpoint_dir import best_checkpoint, list_checkpoints
from vox_populi.runs.manifest import read_manifest
from vox_populi.runs.run_dir import (
    TELEMETRY_FILE,
    require_regular_files,
    run_files,
)
from vox_populi.runs.run_history import (
    RunState,
    first_count,
    first_number,
    read_history,
    run_state,
    text_or_none,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport(JsonReport):
    """A summary of a run."""

    run: Path
    state: RunState
    step: int
    """Optimizer steps done, according to telemetry."""
    planned_steps: int | None
    epoch: int | None
    """The epoch of the last step, from 1."""
    train_loss: float | None
    """Mean over the last epoch; during a run, the loss of the last logged step."""
    heldout_loss_before: float | None
    heldout_loss: float | None
    """Loss of the last evaluation."""
    supervised_tokens: int | None
    tokens_per_second: float | None
    """Mean of the last session, including evaluations, as in `TrainReport`."""
    eta_seconds: float | None
    """Seconds left in a running run."""
    holder: str | None
    """Holder of the folder's lock: process id and host."""
    checkpoints: tuple[str, ...]
    artifacts: Mapping[str, Path]
    telemetry: Mapping[str, object]
    """Number of lines, of lines that could not be read, and of each event."""
    failure: str | None
    """Why a failed run stopped."""
    graph_id: str | None = None
    """The trained graph, according to telemetry."""
    last_step_tokens_per_second: float | None = None
    """Rate of the last step."""
    heldout_by_checkpoint: Mapping[str, float | None] = field(default_factory=dict)
    """Held-out loss of each checkpoint; `None` if it was not evaluated at its step."""
    best_checkpoint: str | None = None
    """The checkpoint with the lowest held-out loss, if it was kept."""
    best_step: int | None = None
    """The step with the lowest held-out loss, whether it was kept or not."""
    best_heldout_loss: float | None = None


def run_status(run: Path) -> StatusReport:
    """Summarise a run that is running, done, failed or abandoned.

    Raises:
        ArtifactError: When the path is not a run folder, has a special file in place of one of
            the run's, or its manifest cannot be read.
    """
    require_regular_files(run)
    artifacts = run_files(run)
    if not artifacts and lock_holder(run) is None:
        raise ArtifactError(say_checkpoint.NOT_A_RUN_FOLDER.at(str(run)))
    history = read_history(run / TELEMETRY_FILE)
    results = _results(run) if "manifest" in artifacts else {}
    start = history.of(EventName.TRAIN_START)
    last_step = history.of(EventName.STEP)
    epoch = first_count(last_step.get("epoch"))
    evaluation = history.of(EventName.EVALUATION)
    holder = lock_holder(run)
    checkpoints, best = list_checkpoints(run), best_checkpoint(run)
    return StatusReport(
        run=run,
        state=run_state(run, holder, history),
        step=first_count(results.get("steps"), last_step.get("step")) or 0,
        planned_steps=first_count(start.get("planned_steps_total")),
        epoch=None if epoch is None else epoch + 1,
        train_loss=first_number(results.get("train_loss"), last_step.get("loss")),
        heldout_loss_before=next(iter(history.evaluations.values()), None),
        heldout_loss=first_number(results.get("heldout_loss_after"), evaluation.get("val_loss")),
        supervised_tokens=first_count(
            results.get("supervised_tokens"), last_step.get("supervised_tokens_total")
        ),
        tokens_per_second=first_number(
            history.of(EventName.TRAIN_COMPLETE).get("mean_tokens_per_sec"),
            last_step.get("mean_tokens_per_sec"),
        ),
        last_step_tokens_per_second=first_number(last_step.get("tokens_per_sec")),
        eta_seconds=first_number(last_step.get("eta_seconds_remaining")) if holder else None,
        holder=holder,
        checkpoints=tuple(each.name for each in checkpoints),
        artifacts=artifacts,
        telemetry={
            "lines": history.lines,
            "unreadable_lines": history.unreadable,
            "events": dict(sorted(history.counts.items())),
            "first_ts_ms": history.first_ts_ms,
            "last_ts_ms": history.last_ts_ms,
        },
        failure=text_or_none(history.of(EventName.TRAIN_FAILED).get("message")),
        graph_id=text_or_none(start.get("graph_id")),
        heldout_by_checkpoint={
            each.name: history.evaluations.get(each.step) for each in checkpoints
        },
        best_checkpoint=None if best is None else best.name,
        best_step=history.best_step,
        best_heldout_loss=None
        if history.best_step is None
        else history.evaluations[history.best_step],
    )


def _results(run: Path) -> dict[str, object]:
    results = read_manifest(run / MANIFEST_FILE).get("results")
    return results if isinstance(results, dict) else {}
