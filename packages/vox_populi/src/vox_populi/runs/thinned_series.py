"""Values by step in limited memory: long runs keep the extremes of equally wide ranges of steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(slots=True)
class StepRange:
    """What was measured in neighbouring steps."""

    first: int
    last: int
    least_at: int
    least: float
    greatest_at: int
    greatest: float
    total: float
    count: int

    @property
    def mean(self) -> float:
        """Mean of its values."""
        return self.total / self.count

    def absorb(self, later: StepRange) -> None:
        """Add the values of a later range."""
        self.last = later.last
        if later.least < self.least:
            self.least_at, self.least = later.least_at, later.least
        if later.greatest > self.greatest:
            self.greatest_at, self.greatest = later.greatest_at, later.greatest
        self.total += later.total
        self.count += later.count

    def points(self) -> Iterator[tuple[int, float]]:
        """Its extremes in the order of their steps; one point if it has one value."""
        ends = {(self.least_at, self.least), (self.greatest_at, self.greatest)}
        yield from sorted(ends)


class ThinnedSeries:
    """At most `limit` ranges, each twice as wide whenever they would become more.

    Args:
        limit: Most ranges that are kept; of a shorter series, every value.
    """

    def __init__(self, limit: int) -> None:
        assert limit >= 2
        self._limit = limit
        self._width = 1
        self.ranges: list[StepRange] = []
        self.last: float | None = None
        """The last value."""

    def add(self, step: int, value: float) -> None:
        """Add the value of a step, which is not before the previous one."""
        self.last = value
        new = StepRange(step, step, step, value, step, value, value, 1)
        if self.ranges and self.ranges[-1].first // self._width >= step // self._width:
            self.ranges[-1].absorb(new)
            return
        self.ranges.append(new)
        while len(self.ranges) > self._limit:
            self._widen()

    def _widen(self) -> None:
        self._width *= 2
        kept: list[StepRange] = []
        for each in self.ranges:
            if kept and kept[-1].first // self._width == each.first // self._width:
                kept[-1].absorb(each)
            else:
                kept.append(each)
        self.ranges = kept

    def points(self) -> list[tuple[int, float]]:
        """The extremes of every range, in the order of their steps."""
        return [point for each in self.ranges for point in each.points()]
