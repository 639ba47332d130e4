"""The telemetry of a run summed up, and the state of a run by its folder. No torch."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from vox_populi.errors import ArtifactError
from vox_populi.events import EventName
from vox_populi.files.known_names import MANIFEST_FILE
from vox_populi.operator_messages import adapter as say_adapter
from vox_populi.runs.run_dir import final_adapter
from vox_populi.runs.telemetry import TelemetryLine, read_telemetry

Payload = dict[str, object]
_MOST_SAVED = 9


class RunState(StrEnum):
    """The state of a run according to its folder."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """The folder is not locked, but there is no record that the run ended."""


@dataclass(slots=True)
class RunHistory:
    """Telemetry, summed up while it is read."""

    lines: int = 0
    unreadable: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    last: dict[str, Payload] = field(default_factory=dict)
    """Last payload by event name."""
    evaluations: dict[int, float] = field(default_factory=dict)
    """Held-out loss by step, in their order."""
    saved: list[int] = field(default_factory=list)
    """Steps of the last checkpoints."""
    first_ts_ms: int | None = None
    last_ts_ms: int | None = None
    last_event: str | None = None

    def add(self, line: TelemetryLine | None) -> None:
        """Take note of one line."""
        self.lines += 1
        if line is None:
            self.unreadable += 1
            return
        self.counts[line.event] += 1
        if line.event == EventName.TRAIN_RESUMED:
            # What ended the session before is history once the run goes on.
            self.last.pop(EventName.TRAIN_FAILED, None)
        self.last[line.event] = line.payload
        self.last_event, self.last_ts_ms = line.event, line.ts_ms
        if self.first_ts_ms is None:
            self.first_ts_ms = line.ts_ms
        if line.event == EventName.EVALUATION:
            self._add_evaluation(line.payload)
        elif line.event == EventName.CHECKPOINT_SAVED:
            step = first_count(line.payload.get("step"))
            self.saved = [*self.saved[-_MOST_SAVED:], *([] if step is None else [step])]

    def _add_evaluation(self, payload: Payload) -> None:
        step, loss = first_count(payload.get("step")), first_number(payload.get("val_loss"))
        if step is not None and loss is not None:
            self.evaluations[step] = loss

    def of(self, event: EventName) -> Payload:
        """The last payload of an event; empty if there was none."""
        return self.last.get(event, {})

    @property
    def failure(self) -> Payload | None:
        """What ended the last session, if it recorded that it failed or was stopped."""
        return self.last.get(EventName.TRAIN_FAILED)

    @property
    def best_step(self) -> int | None:
        """The step after which the held-out loss was lowest, of those that trained."""
        trained = {step: loss for step, loss in self.evaluations.items() if step > 0}
        return min(trained, key=trained.__getitem__) if trained else None


def read_history(path: Path) -> RunHistory:
    """Sum up a telemetry file; an empty history if there is none.

    Raises:
        ArtifactError: When it cannot be read.
    """
    history = RunHistory()
    if not path.is_file():
        return history
    try:
        for line in read_telemetry(path):
            history.add(line)
    except OSError as error:
        raise ArtifactError(say_adapter.artifact_unreadable(error).at(str(path))) from error
    return history


def run_state(run: Path, holder: str | None, history: RunHistory) -> RunState:
    """The state of a run: its lock shows the present, its files the past."""
    if holder is not None:
        return RunState.RUNNING
    if final_adapter(run) is not None and (run / MANIFEST_FILE).is_file():
        return RunState.COMPLETED
    if history.failure is not None and not history.failure.get("interrupted"):
        return RunState.FAILED
    return RunState.INTERRUPTED


def first_count(*candidates: object) -> int | None:
    """The first of the values that is a whole number."""
    return next((v for v in candidates if isinstance(v, int) and not isinstance(v, bool)), None)


def first_number(*candidates: object) -> float | None:
    """The first of the values that is a finite number."""
    for value in candidates:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    return None


def text_or_none(value: object) -> str | None:
    """The value, if it is text."""
    return value if isinstance(value, str) else None
