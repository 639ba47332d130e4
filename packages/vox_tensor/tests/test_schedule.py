from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vox_tensor.schedule import LearningRateSchedule, ScheduleKind, linear_warmup_sequence

BAR_OF_SOURCE = 1e-12
"""The source system's own test holds its sequence to this."""
ROUNDING = 1e-15
"""Absolute, for rates near 1: a few roundings of float64."""

PEAK = 1.0


def schedule(kind: ScheduleKind, **changes: float) -> LearningRateSchedule:
    settings = {"warmup_steps": 10, "total_steps": 100, "warmup_start": 0.0} | changes
    return LearningRateSchedule(
        kind=kind,
        peak=settings.get("peak", PEAK),
        warmup_steps=int(settings["warmup_steps"]),
        total_steps=int(settings["total_steps"]),
        warmup_start=settings["warmup_start"],
        final_fraction=settings.get("final_fraction", 0.0),
        decay_fraction=settings.get("decay_fraction", 0.1),
    )


def close(actual: float, expected: float) -> bool:
    return math.isclose(actual, expected, rel_tol=0.0, abs_tol=ROUNDING)


@pytest.mark.requirement("9")
def test_linear_warmup_sequence_matches_burn_linear_scheduler() -> None:
    rates = linear_warmup_sequence(0.01, 0.05, n_steps=4, count=6)
    expected = (0.01, 0.02, 0.03, 0.04, 0.05, 0.05)
    assert len(rates) == len(expected)
    for rate, wanted in zip(rates, expected, strict=True):
        assert abs(rate - wanted) < BAR_OF_SOURCE


@pytest.mark.requirement("9")
def test_linear_warmup_sequence_matches_the_schedule_step_for_step() -> None:
    run = LearningRateSchedule(
        kind=ScheduleKind.CONSTANT, peak=2e-4, warmup_steps=100, total_steps=150
    )
    assert linear_warmup_sequence(1e-7, 2e-4, n_steps=100, count=150) == tuple(
        map(run.at, range(150))
    )
    assert run.at(0) == 1e-7
    assert run.at(99) < run.at(100) == run.at(149) == 2e-4


def test_linear_warmup_sequence_of_no_steps_starts_at_the_end() -> None:
    assert linear_warmup_sequence(0.01, 0.05, n_steps=0, count=2) == (0.05, 0.05)


def test_kinds_are_the_strings_operators_type() -> None:
    assert [str(kind) for kind in ScheduleKind] == [
        "constant",
        "linear",
        "cosine",
        "inverse_sqrt",
        "wsd",
    ]


@pytest.mark.parametrize("kind", ScheduleKind)
def test_warm_up_rises_in_equal_parts_to_the_peak(kind: ScheduleKind) -> None:
    run = schedule(kind)
    assert [run.at(step) for step in range(10)] == [step * PEAK / 10 for step in range(10)]
    assert run.at(10) == PEAK


@pytest.mark.parametrize("kind", ScheduleKind)
def test_without_warm_up_the_first_step_has_the_peak(kind: ScheduleKind) -> None:
    assert schedule(kind, warmup_steps=0).at(0) == PEAK


@pytest.mark.parametrize(
    ("kind", "at_half", "at_end"),
    [
        (ScheduleKind.CONSTANT, 1.0, 1.0),
        (ScheduleKind.LINEAR, 0.5, 0.0),
        (ScheduleKind.COSINE, 0.5, 0.0),
        (ScheduleKind.INVERSE_SQRT, math.sqrt(10 / 55), math.sqrt(10 / 100)),
        (ScheduleKind.WSD, 1.0, 0.0),
    ],
)
def test_decay_at_its_middle_and_its_end(kind: ScheduleKind, at_half: float, at_end: float) -> None:
    run = schedule(kind)
    assert close(run.at(55), at_half)
    assert close(run.at(100), at_end)
    assert run.at(1000) == run.at(100)


@pytest.mark.parametrize(
    ("kind", "at_half", "at_end"),
    [
        (ScheduleKind.CONSTANT, 1.0, 1.0),
        (ScheduleKind.LINEAR, 0.6, 0.2),
        (ScheduleKind.COSINE, 0.6, 0.2),
        (ScheduleKind.INVERSE_SQRT, 0.2 + 0.8 * math.sqrt(10 / 55), 0.2 + 0.8 * math.sqrt(0.1)),
        (ScheduleKind.WSD, 1.0, 0.2),
    ],
)
def test_decay_ends_on_its_floor(kind: ScheduleKind, at_half: float, at_end: float) -> None:
    run = schedule(kind, final_fraction=0.2)
    assert close(run.at(55), at_half)
    assert close(run.at(100), at_end)


def test_wsd_is_stable_until_its_last_part() -> None:
    run = schedule(ScheduleKind.WSD, decay_fraction=0.25)
    assert {run.at(step) for step in range(10, 76)} == {PEAK}
    assert [run.at(step) for step in (76, 80, 99)] == [1 - 1 / 25, 1 - 5 / 25, 1 - 24 / 25]


def test_wsd_never_decays_during_the_warm_up() -> None:
    run = schedule(ScheduleKind.WSD, decay_fraction=1.0)
    assert run.at(10) == PEAK
    assert run.at(55) == 0.5


@pytest.mark.parametrize("kind", ScheduleKind)
def test_a_warm_up_as_long_as_the_run_has_no_decay(kind: ScheduleKind) -> None:
    run = schedule(kind, warmup_steps=100)
    assert run.at(99) == 99 / 100
    assert run.at(100) == PEAK


@given(
    kind=st.sampled_from(ScheduleKind),
    total=st.integers(1, 200),
    data=st.data(),
    final=st.floats(0, 1),
    decay=st.floats(0.01, 1),
)
def test_rates_rise_to_the_peak_and_then_never_rise(
    kind: ScheduleKind, total: int, data: st.DataObject, final: float, decay: float
) -> None:
    warmup = data.draw(st.integers(0, total))
    run = schedule(
        kind, warmup_steps=warmup, total_steps=total, final_fraction=final, decay_fraction=decay
    )
    rates = [run.at(step) for step in range(total + 2)]
    assert all(a < b for a, b in pairwise(rates[: warmup + 1]))
    assert all(a >= b for a, b in pairwise(rates[warmup:]))
    assert all(0 <= rate <= PEAK for rate in rates)


def test_a_peak_below_the_usual_start_is_not_overshot() -> None:
    run = LearningRateSchedule(kind=ScheduleKind.CONSTANT, peak=1e-8, warmup_steps=3, total_steps=9)
    assert {run.at(step) for step in range(9)} == {1e-8}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"peak": 0.0}, "peak"),
        ({"peak": math.nan}, "peak"),
        ({"peak": math.inf}, "peak"),
        ({"total_steps": 0}, "total_steps"),
        ({"warmup_steps": -1}, "warmup_steps"),
        ({"warmup_steps": 101}, "warmup_steps"),
        ({"warmup_start": -1e-9}, "warmup_start"),
        ({"warmup_start": math.nan}, "warmup_start"),
        ({"final_fraction": 1.1}, "final_fraction"),
        ({"final_fraction": math.nan}, "final_fraction"),
        ({"decay_fraction": 0.0}, "decay_fraction"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(changes: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        schedule(ScheduleKind.COSINE, **changes)


def test_a_negative_step_is_refused() -> None:
    with pytest.raises(ValueError, match="step"):
        schedule(ScheduleKind.COSINE).at(-1)
