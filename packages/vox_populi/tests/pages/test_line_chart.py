"""Charts: round ticks, everything inside the drawing, numbers for those who run no script."""

from __future__ import annotations

import re

import pytest

from vox_populi.pages.line_chart import Chart, Curve, Spot, line_chart, nice_ticks, number_text


def spots(*values: float) -> list[Spot]:
    return [Spot(step, value, value, value) for step, value in enumerate(values, 1)]


def chart(*curves: Curve) -> Chart:
    return Chart(title="Loss <b>", unit="nats", curves=curves)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (0.13, 0.42, [0.2, 0.3, 0.4]), (5, 5, [5]), (-3, 3, [-2, 0, 2])],
)
def test_ticks_are_round_and_inside(low: float, high: float, expected: list[float]) -> None:
    assert nice_ticks(low, high) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (2e-4, "2.00e-04"), (2.34567, "2.346"), (12345.6, "12,346"), (-0.5, "-0.5")],
)
def test_numbers_have_the_digits_that_are_needed(value: float, text: str) -> None:
    assert number_text(value) == text


def test_every_point_is_inside_the_drawing() -> None:
    drawn = line_chart(chart(Curve(name="a", number=0, spots=spots(3.0, -7.0, 1e6, 0.0))))
    assert drawn is not None
    points = re.search(r'points="([^"]*)"', drawn)
    assert points is not None
    for point in points[1].split():
        x, y = map(float, point.split(","))
        assert 0 <= x <= 640
        assert 0 <= y <= 280


def test_names_are_escaped_and_ranges_have_their_extremes() -> None:
    wide = [Spot(5, 2.0, 1.0, 3.0)]
    drawn = line_chart(chart(Curve(name='"><script>', number=9, spots=wide, has_marks=True)))
    assert drawn is not None
    assert "<script" not in drawn
    assert "<b>" not in drawn
    assert 'data-spots="5,2,1,3"' in drawn
    assert 'class="run r1 marked"' in drawn, "colours repeat after the eighth"


def test_a_chart_without_points_is_left_out() -> None:
    assert line_chart(chart(Curve(name="a", number=0, spots=[]))) is None
