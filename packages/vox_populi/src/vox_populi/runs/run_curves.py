"""What is measured step by step in a run, as curves of limited size. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vox_populi.errors import ArtifactError
from vox_populi.events import EventName
from vox_populi.operator_messages import adapter as say_adapter
from vox_populi.runs.run_history import RunHistory, first_count, first_number
from vox_populi.runs.telemetry import TelemetryLine, read_telemetry
from vox_populi.runs.thinned_series import ThinnedSeries

Payload = Mapping[str, object]
_MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class CurveKind:
    """One curve: where its values come from, and what they are."""

    key: str
    title: str
    unit: str
    value: Callable[[Payload], float | None]
    event: EventName = EventName.STEP


def _field(name: str) -> Callable[[Payload], float | None]:
    return lambda payload: first_number(payload.get(name))


def _mean_length(payload: Payload) -> float | None:
    tokens, rows = first_count(payload.get("theoretical_tokens")), first_count(payload.get("rows"))
    return None if tokens is None or not rows else tokens / rows


def _memory(payload: Payload) -> float | None:
    peak = first_number(payload.get("peak_memory_bytes"))
    return None if peak is None else peak / _MEBIBYTE


CURVES = (
    CurveKind("loss", "Training loss", "nats per learned token", _field("loss")),
    CurveKind(
        "heldout_loss",
        "Held-out loss",
        "nats per learned token",
        _field("val_loss"),
        EventName.EVALUATION,
    ),
    CurveKind("learning_rate", "Learning rate", "", _field("learning_rate")),
    CurveKind("grad_norm", "Gradient norm", "before clipping", _field("grad_norm")),
    CurveKind("tokens_per_sec", "Speed", "tokens per second", _field("tokens_per_sec")),
    CurveKind("peak_memory", "Peak memory", "MiB", _memory),
    CurveKind("longest_row", "Longest row of a step", "tokens", _field("longest_row_tokens")),
    CurveKind("mean_row", "Mean row of a step", "tokens", _mean_length),
    CurveKind("learned_share", "Learned share", "% of tokens", _field("supervised_ratio_pct")),
)
"""In the order in which a report shows them."""


class RunCurves:
    """The curves of one run, filled line by line.

    Args:
        limit: Most ranges of a curve.
    """

    def __init__(self, limit: int) -> None:
        self.series = {kind.key: ThinnedSeries(limit) for kind in CURVES}

    def add(self, line: TelemetryLine | None) -> None:
        """Take note of one line."""
        if line is None:
            return
        step = first_count(line.payload.get("step"))
        if step is None:
            return
        for kind in CURVES:
            if kind.event == line.event:
                value = kind.value(line.payload)
                if value is not None:
                    self.series[kind.key].add(step, value)


def read_curves(path: Path, limit: int) -> tuple[RunHistory, RunCurves]:
    """Read a telemetry file once for its summary and its curves; both empty if there is none.

    Raises:
        ArtifactError: When it cannot be read.
    """
    history, curves = RunHistory(), RunCurves(limit)
    if not path.is_file():
        return history, curves
    try:
        for line in read_telemetry(path):
            history.add(line)
            curves.add(line)
    except OSError as error:
        raise ArtifactError(say_adapter.artifact_unreadable(error).at(str(path))) from error
    return history, curves
