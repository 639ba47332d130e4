"""Summarising a run from its folder. No torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from vox_populi.errors import ArtifactError
from vox_populi.events import EventName
from vox_populi.files.folder_lock import lock_holder
from vox_populi.files.json_numbers import JsonObject
from vox_populi.files.known_names import MANIFEST_FILE
from vox_populi.operator_messages import adapter as say_adapter
from vox_populi.operator_messages import checkpoint as say_checkpoint
from vox_populi.runs.checkpoint_dir import list_checkpoints
from vox_populi.runs.manifest import read_manifest
from vox_populi.runs.run_dir import (
    TELEMETRY_FILE,
    final_adapter,
    require_regular_files,
    run_files,
)
from vox_populi.runs.telemetry import TelemetryLine, read_telemetry


class RunState(StrEnum):
    """The state of a run according to its folder."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """The folder is not locked, but there is no record that the run ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
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

    def as_json(self) -> JsonObject:
        """The fields of `vox mens status --json`."""
        plain = {
            name: getattr(self, name) for name in self.__slots__ if name not in ("run", "artifacts")
        }
        return {
            "run": str(self.run),
            **plain,
            "checkpoints": list(self.checkpoints),
            "artifacts": {kind: str(path) for kind, path in self.artifacts.items()},
            "telemetry": dict(self.telemetry),
        }


def run_status(run: Path) -> StatusReport:
    """Summarise a run that is running, done, failed or abandoned.

    Raises:
        ArtifactError: When the path is not a run folder, has a special file in place of one of
            the run's, or its manifest cannot be read.
    """
    require_regular_files(run)
    artifacts = run_files(run)
    if not artifacts and lock_holder(run) is None:
        raise ArtifactError(say_checkpoint.not_a_run_folder(str(run)))
    history = _read_history(run / TELEMETRY_FILE)
    results = _results(run) if "manifest" in artifacts else {}
    start = history.last.get(EventName.TRAIN_START, {})
    last_step = history.last.get(EventName.STEP, {})
    epoch = _count(last_step.get("epoch"))
    evaluation = history.last.get(EventName.EVALUATION, {})
    holder = lock_holder(run)
    return StatusReport(
        run=run,
        state=_state(run, holder, history),
        step=_count(results.get("steps"), last_step.get("step")) or 0,
        planned_steps=_count(start.get("planned_steps_total")),
        epoch=None if epoch is None else epoch + 1,
        train_loss=_number(results.get("train_loss"), last_step.get("loss")),
        heldout_loss_before=_number(history.first_evaluation.get("val_loss")),
        heldout_loss=_number(results.get("heldout_loss_after"), evaluation.get("val_loss")),
        supervised_tokens=_count(
            results.get("supervised_tokens"), last_step.get("supervised_tokens_total")
        ),
        tokens_per_second=_number(
            history.last.get(EventName.TRAIN_COMPLETE, {}).get("mean_tokens_per_sec"),
            last_step.get("mean_tokens_per_sec"),
        ),
        last_step_tokens_per_second=_number(last_step.get("tokens_per_sec")),
        eta_seconds=_number(last_step.get("eta_seconds_remaining")) if holder else None,
        holder=holder,
        checkpoints=tuple(each.name for each in list_checkpoints(run)),
        artifacts=artifacts,
        telemetry={
            "lines": history.lines,
            "unreadable_lines": history.unreadable,
            "events": dict(sorted(history.counts.items())),
            "first_ts_ms": history.first_ts_ms,
            "last_ts_ms": history.last_ts_ms,
        },
        failure=_text(history.last.get(EventName.TRAIN_FAILED, {}).get("message")),
        graph_id=_text(start.get("graph_id")),
    )


@dataclass(slots=True)
class _History:
    """Telemetry, summed up while it is read."""

    lines: int = 0
    unreadable: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    last: dict[str, dict[str, object]] = field(default_factory=dict)
    """Last payload by event name."""
    first_evaluation: dict[str, object] = field(default_factory=dict)
    first_ts_ms: int | None = None
    last_ts_ms: int | None = None

    def add(self, line: TelemetryLine | None) -> None:
        self.lines += 1
        if line is None:
            self.unreadable += 1
            return
        self.counts[line.event] += 1
        if line.event == EventName.TRAIN_RESUMED:
            # What ended the session before is history once the run goes on.
            self.last.pop(EventName.TRAIN_FAILED, None)
        self.last[line.event] = line.payload
        self.last_ts_ms = line.ts_ms
        if self.first_ts_ms is None:
            self.first_ts_ms = line.ts_ms
        if line.event == EventName.EVALUATION and not self.first_evaluation:
            self.first_evaluation = line.payload


def _read_history(path: Path) -> _History:
    history = _History()
    if not path.is_file():
        return history
    try:
        for line in read_telemetry(path):
            history.add(line)
    except OSError as error:
        raise ArtifactError(say_adapter.artifact_unreadable(str(path), error)) from error
    return history


def _results(run: Path) -> dict[str, object]:
    results = read_manifest(run / MANIFEST_FILE).get("results")
    return results if isinstance(results, dict) else {}


def _state(run: Path, holder: str | None, history: _History) -> RunState:
    """The state of a run: its lock shows the present, its files the past."""
    if holder is not None:
        return RunState.RUNNING
    if final_adapter(run) is not None and (run / MANIFEST_FILE).is_file():
        return RunState.COMPLETED
    failure = history.last.get(EventName.TRAIN_FAILED)
    if failure is not None and not failure.get("interrupted"):
        return RunState.FAILED
    return RunState.INTERRUPTED


def _count(*candidates: object) -> int | None:
    """The first of the values that is a whole number."""
    return next((v for v in candidates if isinstance(v, int) and not isinstance(v, bool)), None)


def _number(*candidates: object) -> float | None:
    """The first of the values that is a finite number."""
    for value in candidates:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
