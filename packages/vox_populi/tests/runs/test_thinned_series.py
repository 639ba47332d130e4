"""A long series keeps its extremes, its mean and its order in limited memory."""

from __future__ import annotations

import random

from vox_populi.runs.thinned_series import ThinnedSeries


def test_a_short_series_keeps_every_value() -> None:
    series = ThinnedSeries(8)
    values = [(step, float(-step)) for step in range(5, 13)]
    for step, value in values:
        series.add(step, value)
    assert series.points() == values
    assert series.last == -12.0


def test_a_long_series_keeps_extremes_and_means() -> None:
    random.seed(1)
    values = [random.gauss(0, 1) for _ in range(20_000)]
    values[777], values[13_131] = 99.0, -99.0
    series = ThinnedSeries(100)
    for step, value in enumerate(values, 1):
        series.add(step, value)
    assert 50 <= len(series.ranges) <= 100
    points = series.points()
    assert points == sorted(points)
    assert (778, 99.0) in points
    assert (13_132, -99.0) in points
    assert sum(each.count for each in series.ranges) == len(values)
    total = sum(each.mean * each.count for each in series.ranges)
    assert abs(total - sum(values)) < 1e-6
    for each in series.ranges:
        part = values[each.first - 1 : each.last]
        assert (each.least, each.greatest) == (min(part), max(part))


def test_steps_that_are_missing_or_repeated_do_no_harm() -> None:
    series = ThinnedSeries(4)
    for step in (1, 2, 1_000_000, 1_000_000, 999_999, 5_000_000):
        series.add(step, 1.0)
    assert len(series.ranges) <= 4
    assert sum(each.count for each in series.ranges) == 6
