from __future__ import annotations

import io
from dataclasses import dataclass

import pytest

from vox_cli.progress import ProgressBar, progress_sink
from vox_cli.terminal import Channel
from vox_cli.text_width import cells
from vox_populi.events import Event, EventName
from vox_populi.pipeline.progress_lines import ProgressLines


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


@dataclass(frozen=True, slots=True)
class Window(Channel):
    """A terminal of a certain width."""

    width: int = 80

    def columns(self) -> int:
        return self.width


def window(stream: io.StringIO, width: int = 80) -> Window:
    return Window(lambda: stream, width)


def last_drawn(stream: io.StringIO) -> str:
    return stream.getvalue().rsplit("\r", 1)[-1].removesuffix("\x1b[K")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bar_is_redrawn_in_place_and_left_on_its_line() -> None:
    stream, clock = io.StringIO(), Clock()
    bar = ProgressBar(window(stream, 100), clock)
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
    bar = ProgressBar(window(stream), clock)
    for number in range(1, 11):
        bar.emit(step(number, total=10))
    assert stream.getvalue().count("\r") == 2, "the first step and the last"


def test_an_evaluation_stays_above_the_bar() -> None:
    stream = io.StringIO()
    bar = ProgressBar(window(stream), Clock())
    bar.emit(step(1))
    bar.emit(Event(EventName.EVALUATION, {"step": 1, "val_loss": 2.0}))
    bar.close()
    assert stream.getvalue().endswith("\rstep 1: held-out loss 2.0000\x1b[K\n")


@pytest.mark.parametrize("width", [0, 1, 2, 12, 20, 30, 40, 50, 60, 70, 79, 80, 81, 120, 200])
@pytest.mark.parametrize("number", [1, 99_999])
def test_a_drawn_line_never_reaches_the_last_column(width: int, number: int) -> None:
    stream = io.StringIO()
    ProgressBar(window(stream, width), Clock()).emit(step(number, total=100_000))
    assert cells(last_drawn(stream)) <= max(width - 3, 0), "nor the two that ^C needs"
    assert stream.getvalue().count("\n") == 0


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (80, "[########.......] step 20/40  loss 2.5000  lr 1.00e-04  1,234 tokens/s  ETA 1:15"),
        (60, "[#####.....] step 20/40  loss 2.5000  1,234 tokens/s  ETA 1:15"),
        (40, "step 20/40  loss 2.5000  ETA 1:15"),
        (26, "step 20/40  loss 2.5000"),
        (20, "step 20/40"),
        (8, "step "),
    ],
)
def test_a_narrow_terminal_keeps_what_matters_most(width: int, shown: str) -> None:
    stream = io.StringIO()
    ProgressBar(window(stream, width), Clock()).emit(step(20))
    drawn = last_drawn(stream)
    assert drawn.split("] ")[-1] == shown.split("] ")[-1]


def test_the_width_is_asked_for_at_each_drawing() -> None:
    stream, clock = io.StringIO(), Clock()
    widths = iter([100, 40])

    class Resized(Window):
        def columns(self) -> int:
            return next(widths)

    bar = ProgressBar(Resized(lambda: stream), clock)
    bar.emit(step(1))
    clock.now = 1.0
    bar.emit(step(2))
    wide, narrow = (part.removesuffix("\x1b[K") for part in stream.getvalue().split("\r")[1:])
    assert 40 < cells(wide) < 100
    assert cells(narrow) < 40


def test_progress_sinks_record_the_notes_they_showed() -> None:
    for sink in (ProgressLines(window(io.StringIO()).line, 1), ProgressBar(window(io.StringIO()))):
        sink.emit(Event(EventName.TRAIN_RESUMED, {"notes": ["from step-5", "two\nlines"]}))
        assert sink.said == {"from step-5", "two\nlines"}


def test_a_closed_stream_does_not_stop_a_run() -> None:
    stream = io.StringIO()
    stream.close()
    for sink in (ProgressLines(window(stream).line, 1), ProgressBar(window(stream), Clock())):
        sink.emit(step(1))
        sink.close()


def test_the_sink_suits_the_stream() -> None:
    assert isinstance(progress_sink(window(io.StringIO()), has_bar=True, log_every=1), ProgressBar)
    assert isinstance(
        progress_sink(window(io.StringIO()), has_bar=False, log_every=1), ProgressLines
    )
