from __future__ import annotations

import pytest

from vox_populi.train.time_left import FEWEST_STEPS, WARM_UP_STEPS, TimeLeft, due_from


def measured(*steps: float) -> TimeLeft:
    left = TimeLeft()
    for seconds in steps:
        left.step_took(seconds)
    return left


def test_there_is_no_time_left_before_enough_steps_are_measured() -> None:
    left = TimeLeft()
    for _ in range(WARM_UP_STEPS + FEWEST_STEPS - 1):
        left.step_took(1.0)
        assert left.seconds(steps=10) is None
    left.step_took(1.0)
    assert left.seconds(steps=10) == 10.0


def test_slow_first_steps_and_a_hiccup_do_not_count() -> None:
    assert measured(30.0, 9.0, 2.0, 2.0, 40.0, 2.0, 2.0).seconds(steps=100) == 200.0


def test_the_time_left_follows_a_run_that_has_become_slower() -> None:
    assert measured(*[1.0] * 60, *[3.0] * 40).seconds(steps=10) == 30.0


def test_evaluations_and_saves_that_are_due_are_counted() -> None:
    left = measured(*[1.0] * 5)
    left.evaluation_took(7.0)
    left.save_took(0.5)
    assert left.seconds(steps=10, evaluations=2, saves=4) == 26.0


def test_the_time_left_is_zero_after_the_last_step() -> None:
    assert measured().seconds(steps=0) == 0.0


@pytest.mark.parametrize(
    ("step", "total", "every", "due"),
    [(1, 10, 5, 2), (5, 10, 5, 2), (6, 10, 5, 1), (10, 10, 5, 1), (3, 10, None, 0), (8, 9, 5, 0)],
)
def test_events_due_every_n_steps_are_counted(
    step: int, total: int, every: int | None, due: int
) -> None:
    assert due_from(step, total, every) == due
