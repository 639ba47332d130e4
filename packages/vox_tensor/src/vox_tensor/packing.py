"""Placing rows into windows of a fixed token budget, whole and in a reproducible order. No torch.

A window is what one forward pass computes. Rows are never cut and never see each other: a
window is a list of segments, and attention stays inside a segment.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of tokens in a window that attends to itself alone."""

    row: int
    """Index of the row in the sequence that was packed."""
    start: int
    """First token of the segment, counted from the start of the window."""
    length: int


@dataclass(frozen=True, slots=True)
class Window:
    """The segments of one forward pass, in token order."""

    segments: tuple[Segment, ...]

    @property
    def n_tokens(self) -> int:
        """Number of tokens in the window; there is no padding."""
        return sum(segment.length for segment in self.segments)


def pack_rows(lengths: Sequence[int], capacity: int) -> tuple[Window, ...]:
    """Place rows into as few windows of at most `capacity` tokens as best-fit decreasing finds.

    Ties go to the earlier row and the earlier window, so the same lengths give the same
    windows. Within a window, rows keep their original order.

    Args:
        lengths: Number of tokens of each row.
        capacity: Largest number of tokens in a window.

    Raises:
        ValueError: For a row that is empty or longer than `capacity`.
    """
    for row, length in enumerate(lengths):
        if not 0 < length <= capacity:
            message = f"row {row} has {length} tokens, but a window takes 1 to {capacity}"
            raise ValueError(message)
    # (free space, window), sorted: the tightest fit is found by bisection, so that packing a
    # whole validation set takes no time to speak of.
    free: list[tuple[int, int]] = []
    members: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda r: (-lengths[r], r)):
        tightest = bisect_left(free, (lengths[row], 0))
        if tightest < len(free):
            space, window = free.pop(tightest)
        else:
            space, window = capacity, len(members)
            members.append([])
        insort(free, (space - lengths[row], window))
        members[window].append(row)
    return tuple(_window(sorted(rows), lengths) for rows in members)


def _window(rows: Sequence[int], lengths: Sequence[int]) -> Window:
    segments: list[Segment] = []
    start = 0
    for row in rows:
        segments.append(Segment(row, start, lengths[row]))
        start += lengths[row]
    return Window(tuple(segments))
