"""Histograms as drawings inside a page, with the numbers beside them for those who cannot see."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vox_populi.pages.markup import Markup, element
from vox_populi.pages.page_frame import table

_WIDTH, _HEIGHT = 480, 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 8, 8, 18, 22
_MOST_BARS = 24
_WIDEST_BAR = 48.0


@dataclass(frozen=True, slots=True)
class Bar:
    """How many values are from `least` to `greatest`."""

    least: int
    greatest: int
    count: int

    @property
    def words(self) -> str:
        """The range as text."""
        if self.least == self.greatest:
            return f"{self.least:,}"
        return f"{self.least:,} to {self.greatest:,}"


def bars_of(counts: Mapping[int, int]) -> tuple[Bar, ...]:
    """Counts of values in up to 24 ranges: of one width if they are near, else of one ratio."""
    if not counts:
        return ()
    least, greatest = min(counts), max(counts)
    bounds = _bounds(least, greatest)
    sums = [0] * (len(bounds) - 1)
    place = 0
    for value in sorted(counts):
        while value >= bounds[place + 1]:
            place += 1
        sums[place] += counts[value]
    edges = zip(bounds, bounds[1:], sums, strict=False)
    return tuple(Bar(low, high - 1, count) for low, high, count in edges)


def _bounds(least: int, greatest: int) -> list[int]:
    """Ascending borders, the last beyond the greatest value."""
    n_values = greatest - least + 1
    if n_values <= _MOST_BARS:
        return list(range(least, greatest + 2))
    if not _is_wide(least, greatest):
        width = math.ceil(n_values / _MOST_BARS)
        borders = list(range(least, greatest + 1, width))
        return [*borders, borders[-1] + width]
    low = max(least, 1)
    ratio = ((greatest + 1) / low) ** (1 / _MOST_BARS)
    borders = sorted({least, *(math.ceil(low * ratio**i) for i in range(1, _MOST_BARS))})
    return [*(each for each in borders if each <= greatest), greatest + 1]


def _is_wide(least: int, greatest: int) -> bool:
    """Whether ranges of one width would leave most values in one of them."""
    return greatest - least >= _MOST_BARS and greatest >= 8 * max(least, 1)


def histogram(
    title: str, counts: Mapping[int, int], unit: str, limit: int | None = None
) -> Markup | None:
    """A drawing of counts; what is beyond a limit has a colour of its own.

    Args:
        title: What is counted.
        counts: Number of rows by value.
        unit: What the values are.
        limit: Largest value that is not too long.
    """
    bars = bars_of(counts)
    if not bars:
        return None
    rows = [(bar.words, f"{bar.count:,}") for bar in bars if bar.count]
    numbers = element("details", element("summary", "Numbers"), table((unit, "rows"), rows))
    scale = " (log scale)" if _is_wide(bars[0].least, bars[-1].greatest) else ""
    caption = element("figcaption", f"{title}{scale}")
    return element("figure", caption, _drawing(title, bars, limit), numbers)


def _drawing(title: str, bars: Sequence[Bar], limit: int | None) -> Markup:
    base = _HEIGHT - _BOTTOM
    most = max(bar.count for bar in bars)
    slot = min((_WIDTH - _LEFT - _RIGHT) / len(bars), _WIDEST_BAR)
    parts: list[Markup] = []
    for i, bar in enumerate(bars):
        height = (base - _TOP) * bar.count / most
        if bar.count:
            height = max(height, 2.0)
        too_long = limit is not None and bar.greatest > limit
        parts.append(
            element(
                "rect",
                x=f"{_LEFT + i * slot + 0.5:.1f}",
                y=f"{base - height:.1f}",
                width=f"{max(slot - 1, 1):.1f}",
                height=f"{height:.1f}",
                class_="too-long" if too_long else "bar",
            )
        )
    parts.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=base, y2=base, class_="axis"))
    parts += _labels(bars, slot, most)
    return element(
        "svg",
        element("title", title),
        parts,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"{title}: {bars[0].least:,} to {bars[-1].greatest:,}",
    )


def _labels(bars: Sequence[Bar], slot: float, most: int) -> list[Markup]:
    """The height of the tallest bar, and values below some bars."""
    step = max(1, math.ceil(len(bars) / 6))
    below = [
        element(
            "text",
            f"{bars[i].least:,}",
            x=f"{_LEFT + i * slot:.1f}",
            y=_HEIGHT - 7,
        )
        for i in range(0, len(bars), step)
    ]
    return [element("text", f"{most:,} rows", x=_LEFT, y=12), *below]
