from __future__ import annotations

import io

import pytest

from vox_cli.progress import ProgressBar, ProgressLines, progress_sink
from vox_populi.events import Event, EventName


def step(number: int, total: int = 40, **more: object) -> Event:
    payload = {
        "step": number,
        "planned_steps_total": total,
        "loss": 2.5,
        "learning_rate": 1e-4,
        "tokens_per_sec": 1234.0,
        "eta_seconds_remaining": 75.0,
    }
    return Event(EventName.STEP, {**payload, **more})


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_line_has_loss_speed_and_time_left() -> None:
    stream = io.StringIO()
    ProgressLines(stream, 20).emit(step(1))
    assert stream.getvalue() == ("step 1/40  loss 2.5000  lr 1.00e-04  1,234 tokens/s  ETA 1:15\n")


def test_lines_come_first_every_nth_and_last() -> None:
    stream = io.StringIO()
    sink = ProgressLines(stream, 20)
    for number in range(1, 46):
        sink.emit(step(number, total=45))
    shown = [line.split("/")[0] for line in stream.getvalue().splitlines()]
    assert shown == ["step 1", "step 20", "step 40", "step 45"]


def test_evaluations_and_early_stops_are_always_shown() -> None:
    stream = io.StringIO()
    sink = ProgressLines(stream, 1000)
    sink.emit(Event(EventName.EVALUATION, {"step": 0, "val_loss": 3.25}))
    sink.emit(Event(EventName.EARLY_STOP, {"step": 8, "best_step": 4}))
    sink.emit(Event(EventName.EPOCH_COMPLETE, {"epoch": 1}))
    assert stream.getvalue().splitlines() == [
        "step 0: held-out loss 3.2500",
        "step 8: stopped early, no better held-out loss since step 4",
    ]


def test_a_bar_is_redrawn_in_place_and_left_on_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    stream, clock = io.StringIO(), Clock()
    bar = ProgressBar(stream, clock)
    bar.emit(step(10))
    clock.now = 1.0
    bar.emit(step(20))
    bar.close()
    bar.close()
    written = stream.getvalue()
    assert written.count("\r") == 2
    assert written.count("\n") == 1
    assert written.endswith("\n")
    first, second = written.split("\r")[1:]
    assert second.count("#") > first.count("#") > 0
    assert max(len(part.split("\x1b")[0]) for part in (first, second)) < 100


def test_a_bar_is_not_redrawn_faster_than_anybody_can_see() -> None:
    stream, clock = io.StringIO(), Clock()
    bar = ProgressBar(stream, clock)
    for number in range(1, 11):
        bar.emit(step(number, total=10))
    assert stream.getvalue().count("\r") == 2, "the first step and the last"


def test_an_evaluation_stays_above_the_bar() -> None:
    stream = io.StringIO()
    bar = ProgressBar(stream, Clock())
    bar.emit(step(1))
    bar.emit(Event(EventName.EVALUATION, {"step": 1, "val_loss": 2.0}))
    bar.close()
    assert stream.getvalue().endswith("\rstep 1: held-out loss 2.0000\x1b[K\n")


def test_a_narrow_terminal_gets_the_words_without_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    stream = io.StringIO()
    ProgressBar(stream, Clock()).emit(step(1))
    assert "[" not in stream.getvalue().replace("\x1b[K", "")
    assert "loss 2.5000" in stream.getvalue()


def test_a_closed_stream_does_not_stop_a_run() -> None:
    stream = io.StringIO()
    stream.close()
    for sink in (ProgressLines(stream, 1), ProgressBar(stream, Clock())):
        sink.emit(step(1))
        sink.close()


def test_the_sink_suits_the_stream() -> None:
    assert isinstance(progress_sink(io.StringIO(), has_bar=True, log_every=1), ProgressBar)
    assert isinstance(progress_sink(io.StringIO(), has_bar=False, log_every=1), ProgressLines)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0:00"), (59.6, "1:00"), (3661.0, "1:01:01"), (-1.0, "0:00")]
)
def test_time_left_is_read_like_a_clock(seconds: float, text: str) -> None:
    stream = io.StringIO()
    ProgressLines(stream, 1).emit(step(1, eta_seconds_remaining=seconds))
    assert stream.getvalue().strip().endswith(f"ETA {text}")
