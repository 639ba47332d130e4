"""Every event of a run as one line for people who follow it. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from vox_populi.events import Event, EventName
from vox_populi.pipeline.progress_lines import count_in, describe, number_in
from vox_populi.runs.telemetry import TelemetryLine

Payload = Mapping[str, object]


def event_lines(lines: Iterable[TelemetryLine]) -> list[str]:
    """Describe events of `telemetry.jsonl`; an unknown one is only named."""
    return [text for line in lines for text in _texts(line)]


def _texts(line: TelemetryLine) -> list[str]:
    if line.event not in _KNOWN:
        return [line.event]
    name = EventName(line.event)
    described = list(describe(Event(name, line.payload)))
    return described or [_WORDS[name](line.payload)]


def _started(payload: Payload) -> str:
    rows, steps = count_in(payload, "pairs_loaded"), count_in(payload, "planned_steps_total")
    return f"started: {steps:,} steps on {rows:,} rows, base {payload.get('base_model')}"


def _epoch(payload: Payload) -> str:
    step, loss = count_in(payload, "steps"), number_in(payload, "avg_loss")
    return f"step {step}: epoch {count_in(payload, 'epoch')} complete, mean loss {loss:.4f}"


def _saved(payload: Payload) -> str:
    return f"step {count_in(payload, 'step')}: checkpoint {payload.get('checkpoint')} saved"


def _complete(payload: Payload) -> str:
    steps, loss = count_in(payload, "training_steps_executed"), number_in(payload, "loss")
    held_out = payload.get("val_loss")
    rest = f", held-out loss {held_out:.4f}" if isinstance(held_out, float) else ""
    return f"complete: {steps} steps, loss {loss:.4f}{rest}"


def _failed(payload: Payload) -> str:
    word = "stopped" if payload.get("interrupted") else "failed"
    return f"{word}: {payload.get('message')}"


def _name_alone(name: EventName) -> Callable[[Payload], str]:
    return lambda payload: name.value


_KNOWN = frozenset(each.value for each in EventName)
_WORDS: Mapping[EventName, Callable[[Payload], str]] = {
    **{name: _name_alone(name) for name in EventName},
    EventName.TRAIN_START: _started,
    EventName.EPOCH_COMPLETE: _epoch,
    EventName.CHECKPOINT_SAVED: _saved,
    EventName.TRAIN_COMPLETE: _complete,
    EventName.TRAIN_FAILED: _failed,
}
