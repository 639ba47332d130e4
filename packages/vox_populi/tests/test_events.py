"""What a sink that fails can do to a run: nothing."""

from __future__ import annotations

import pytest

from vox_populi.events import Event, EventName, SinkGroup


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
