"""Charts of curves: a drawing that needs no script, with the numbers for `chart_script` beside it.

A curve of a long run has ranges of steps instead of steps; its line is their mean, and a band from
the least to the greatest value is drawn around it by the script.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vox_populi.pages.markup import Markup, element
from vox_populi.pages.page_frame import table

_WIDTH, _HEIGHT = 640, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 12, 10, 34
_MOST_TICKS = 6
COLOURS = 8
"""Runs that have a colour of their own; the script and the style sheet know as many."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A point of a curve: the mean of one or more steps, and their extremes."""

    step: int
    mean: float
    least: float
    greatest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A named curve."""

    name: str
    number: int
    """The number of its run, which decides the colour and the dashes."""
    spots: Sequence[Spot]
    has_marks: bool = False
    """Whether each point is marked: for few points with a meaning of their own."""
    is_exact: bool = False
    """Whether it has no noise that smoothing could take away."""
    kind: str = ""
    """What it is, where a run has several curves in one chart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Curves over steps."""

    title: str
    unit: str
    curves: Sequence[Curve]


def line_chart(chart: Chart) -> Markup | None:
    """A figure with its drawing and a table of its numbers; nothing for a chart without points."""
    curves = [curve for curve in chart.curves if curve.spots]
    if not curves:
        return None
    unit = f" ({chart.unit})" if chart.unit else ""
    return element(
        "figure",
        element("figcaption", f"{chart.title}{unit}"),
        element(
            "div",
            _drawing(chart.title, curves),
            class_="plot",
            tabindex=0,
            role="group",
            aria_label=f"{chart.title}, {_extent(curves)}; arrow keys read values",
        ),
        element("p", class_="tip faint", aria_live="polite"),
        element("details", element("summary", "Numbers"), _numbers(curves)),
        class_="chart",
    )


def nice_ticks(least: float, greatest: float, most: int = _MOST_TICKS) -> list[float]:
    """Round numbers within a range, as far apart as one, two or five times a power of ten."""
    span = greatest - least
    if not span > 0:
        return [least]
    rough = span / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    width = next(power * each for each in (1, 2, 5, 10) if power * each >= rough)
    first = math.ceil(least / width - 1e-9)
    last = math.floor(greatest / width + 1e-9)
    return [round(index * width, 12) for index in range(first, last + 1)]


def number_text(value: float, digits: int = 4) -> str:
    """A number with the digits that a reader of a chart needs."""
    if value == 0:
        return "0"
    if abs(value) >= 10_000:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}" if abs(value) >= 0.001 else f"{value:.2e}"


def _extent(curves: Sequence[Curve]) -> str:
    steps = [spot.step for curve in curves for spot in curve.spots]
    return f"steps {min(steps):,} to {max(steps):,}"


def _numbers(curves: Sequence[Curve]) -> Markup:
    rows = [
        (
            f"{curve.name} {curve.kind}".rstrip(),
            number_text(curve.spots[0].mean),
            number_text(curve.spots[-1].mean),
            number_text(min(spot.least for spot in curve.spots)),
            number_text(max(spot.greatest for spot in curve.spots)),
        )
        for curve in curves
    ]
    return table(("run", "first", "last", "least", "greatest"), rows)


def _drawing(title: str, curves: Sequence[Curve]) -> Markup:
    spots = [spot for curve in curves for spot in curve.spots]
    steps = min(spot.step for spot in spots), max(spot.step for spot in spots)
    values = min(spot.mean for spot in spots), max(spot.mean for spot in spots)
    frame = _Frame(steps, _widened(values))
    return element(
        "svg",
        element("title", title),
        element("g", frame.axes(), class_="axes"),
        element("g", (_line(curve, frame) for curve in curves), class_="lines"),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=title,
    )


def _widened(values: tuple[float, float]) -> tuple[float, float]:
    least, greatest = values
    margin = (greatest - least) * 0.04 or abs(least) * 0.1 or 1.0
    return least - margin, greatest + margin


@dataclass(frozen=True, slots=True)
class _Frame:
    """The places of steps and values in the drawing."""

    steps: tuple[int, int]
    values: tuple[float, float]

    def x(self, step: float) -> float:
        low, high = self.steps
        return _LEFT + (step - low) / max(high - low, 1) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self.values
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _BOTTOM - _TOP)

    def axes(self) -> Iterator[Markup]:
        for value in nice_ticks(*self.values):
            y = f"{self.y(value):.1f}"
            yield element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="axis")
            yield element("text", number_text(value, 6), x=_LEFT - 6, y=y, class_="of-y")
        for step in nice_ticks(*self.steps):
            x, floor = f"{self.x(step):.1f}", _HEIGHT - _BOTTOM
            yield element("line", x1=x, x2=x, y1=floor, y2=floor + 4, class_="axis")
            yield element("text", f"{step:,.0f}", x=x, y=floor + 17, class_="of-x")
        yield element("text", "step", x=_WIDTH - _RIGHT, y=_HEIGHT - 3, class_="of-end")


def _line(curve: Curve, frame: _Frame) -> Markup:
    drawn = " ".join(f"{frame.x(s.step):.1f},{frame.y(s.mean):.1f}" for s in curve.spots)
    return element(
        "polyline",
        points=drawn,
        class_=f"run r{curve.number % COLOURS}{_classes(curve)}",
        data_run=curve.number,
        data_name=f"{curve.name} {curve.kind}".rstrip(),
        data_spots=" ".join(_spot_text(spot) for spot in curve.spots),
    )


def _classes(curve: Curve) -> str:
    return " marked" * curve.has_marks + " exact" * curve.is_exact


def _spot_text(spot: Spot) -> str:
    if spot.least == spot.greatest:
        return f"{spot.step},{spot.mean:.6g}"
    return f"{spot.step},{spot.mean:.6g},{spot.least:.5g},{spot.greatest:.5g}"
