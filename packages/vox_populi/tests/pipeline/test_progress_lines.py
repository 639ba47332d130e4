from __future__ import annotations

import pytest

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


def test_a_line_has_loss_speed_and_time_left() -> None:
    lines: list[str] = []
    ProgressLines(lines.append, 20).emit(step(1))
    assert lines == ["step 1/40  loss 2.5000  lr 1.00e-04  1,234 tokens/s  ETA 1:15"]


def test_lines_come_first_every_nth_and_last() -> None:
    lines: list[str] = []
    sink = ProgressLines(lines.append, 20)
    for number in range(1, 46):
        sink.emit(step(number, total=45))
    shown = [line.split("/")[0] for line in lines]
    assert shown == ["step 1", "step 20", "step 40", "step 45"]


def test_evaluations_and_early_stops_are_always_shown() -> None:
    lines: list[str] = []
    sink = ProgressLines(lines.append, 1000)
    sink.emit(Event(EventName.EVALUATION, {"step": 0, "val_loss": 3.25}))
    sink.emit(Event(EventName.EARLY_STOP, {"step": 8, "best_step": 4}))
    sink.emit(Event(EventName.EPOCH_COMPLETE, {"epoch": 1}))
    assert lines == [
        "step 0: held-out loss 3.2500",
        "step 8: stopped early, no better held-out loss since step 4",
    ]


def test_no_time_left_is_shown_before_it_is_known() -> None:
    lines: list[str] = []
    ProgressLines(lines.append, 1).emit(step(1, eta_seconds_remaining=None))
    assert "ETA" not in lines[0]
    assert "tokens/s" in lines[0]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0:00"), (59.6, "1:00"), (3661.0, "1:01:01"), (-1.0, "0:00")]
)
def test_time_left_is_read_like_a_clock(seconds: float, text: str) -> None:
    lines: list[str] = []
    ProgressLines(lines.append, 1).emit(step(1, eta_seconds_remaining=seconds))
    assert lines[0].endswith(f"ETA {text}")


def test_a_failing_writer_does_not_stop_a_run() -> None:
    def closed(text: str) -> None:
        message = f"cannot write {text}"
        raise ValueError(message)

    sink = ProgressLines(closed, 1)
    sink.emit(step(1))
    assert sink.said == set()
