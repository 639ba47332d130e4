"""A logger may raise, hang or be slow: the run continues, and one warning says so."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

import pytest

from vox_populi.events import Event, EventName
from vox_populi.loggers.logger_sink import LoggerSink


class Recorder:
    """A logger that remembers, or fails where it is told to."""

    run_id = "id-1"

    def __init__(self, fails_at: str = "") -> None:
        self.fails_at = fails_at
        self.logged: list[tuple[int, Mapping[str, float]]] = []
        self.finished: bool | None = None
        self._fail("start")

    def _fail(self, where: str) -> None:
        if where == self.fails_at:
            raise KeyError(where)

    def log(self, step: int, values: Mapping[str, float], time_seconds: float) -> None:
        self._fail(f"step {step}")
        self.logged.append((step, values))

    def finish(self, *, is_complete: bool) -> None:
        self._fail("finish")
        self.finished = is_complete


def sink_of(start: Callable[[], Recorder], ids: list[str], seconds: float = 10.0) -> LoggerSink:
    return LoggerSink("wandb", start, ids.append, seconds)


def tell(sink: LoggerSink, *, last: EventName = EventName.TRAIN_COMPLETE) -> None:
    sink.emit(Event(EventName.TRAIN_START, {"train_file": "rows.jsonl"}))
    sink.begin()
    for step in (1, 2):
        sink.emit(Event(EventName.STEP, {"step": step, "loss": 2.0, "grad_norm": None}))
    sink.emit(Event(EventName.EVALUATION, {"step": 2, "val_loss": 1.5}))
    sink.emit(Event(last, {"ok": True}))
    sink.close()
    sink.close()


def test_the_numbers_of_steps_and_evaluations_arrive_in_order() -> None:
    made: list[Recorder] = []
    ids: list[str] = []

    def start() -> Recorder:
        made.append(Recorder())
        return made[0]

    tell(sink_of(start, ids))
    assert made[0].logged == [
        (1, {"train/loss": 2.0}),
        (2, {"train/loss": 2.0}),
        (2, {"eval/loss": 1.5}),
    ]
    assert (made[0].finished, ids) == (True, ["id-1"])


def test_a_run_that_fails_is_recorded_as_failed() -> None:
    made: list[Recorder] = []

    def start() -> Recorder:
        made.append(Recorder())
        return made[0]

    tell(sink_of(start, []), last=EventName.TRAIN_FAILED)
    assert made[0].finished is False


@pytest.mark.parametrize("where", ["start", "step 1", "step 2", "finish"])
def test_whatever_a_logger_raises_is_one_warning(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    tell(sink_of(lambda: Recorder(where), []))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "wandb failed (KeyError" in caplog.text


def test_a_logger_that_hangs_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Event()

    def start() -> Recorder:
        release.wait(30)
        return Recorder()

    sink = sink_of(start, [], 0.01)
    tell(sink)
    release.set()
    assert len(caplog.records) == 1
    assert "did not finish" in caplog.text


def test_nothing_starts_before_the_run_does() -> None:
    sink = sink_of(lambda: Recorder("start"), [])
    sink.emit(Event(EventName.STEP, {"step": 1, "loss": 1.0}))
    sink.close()
    assert not sink.has_failed
