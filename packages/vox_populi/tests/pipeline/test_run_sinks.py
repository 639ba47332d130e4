"""Which events reach telemetry, and what a sink that fails can do to a run: nothing."""

from __future__ import annotations

import pytest

from vox_populi.events import Event, EventName
from vox_populi.pipeline.run_sinks import EveryNthStep, SinkGroup


class Recorder:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)


class Broken:
    def __init__(self) -> None:
        self.calls = 0

    def emit(self, event: Event) -> None:
        self.calls += 1
        raise BrokenPipeError(32, "Broken pipe")


def step(number: int) -> Event:
    return Event(EventName.STEP, {"step": number, "tokens_total": 30 * number})


def test_first_every_nth_and_last_step_are_kept() -> None:
    kept = Recorder()
    sink = EveryNthStep(kept, every=3)
    for number in range(1, 8):
        sink.emit(step(number))
    sink.emit(Event(EventName.TRAIN_COMPLETE, {}))
    assert [event.payload.get("step") for event in kept.events] == [1, 3, 6, 7, None]
    assert kept.events[-2].payload["tokens_total"] == 210


def test_a_run_that_goes_on_keeps_the_rhythm_of_its_steps() -> None:
    kept = Recorder()
    sink = EveryNthStep(kept, every=3)
    for number in range(5, 9):
        sink.emit(step(number))
    sink.emit(Event(EventName.TRAIN_COMPLETE, {}))
    assert [event.payload.get("step") for event in kept.events] == [6, 8, None]


def test_a_step_stands_before_the_evaluation_that_follows_it() -> None:
    kept = Recorder()
    sink = EveryNthStep(kept, every=100)
    for number in (1, 2):
        sink.emit(step(number))
    sink.emit(Event(EventName.EVALUATION, {"step": 2}))
    names = [event.name for event in kept.events]
    assert names == [EventName.STEP, EventName.STEP, EventName.EVALUATION]


def test_a_sink_that_fails_is_left_out_after_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken, kept = Broken(), Recorder()
    sinks = SinkGroup((broken, kept))
    for number in (1, 2):
        sinks.emit(step(number))
    assert broken.calls == 1
    assert len(kept.events) == 2
    assert len(caplog.records) == 1
