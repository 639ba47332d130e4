"""Placing rows into windows of a fixed token budget, whole and in a reproducible order. No torch.

A window is what one forward pass computes. Rows are never cut and never see each other. Where
each row is a segment of its own, attention stays inside a segment; rows that begin alike can share
segments, which `vox_tensor.prefix_forest` finds.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of tokens in a window that attends to itself and to the segments above it."""

    row: int
    """Index of the row in the sequence that was packed; of a shared segment, one of its rows."""
    start: int
    """First token of the segment, counted from the start of the window."""
    length: int
    parent: int | None = None
    """Index in the window of the segment with the tokens right before it; `None`: its rows begin
    here."""
    position: int = 0
    """Tokens of its rows before it: those of all segments above it."""


@dataclass(frozen=True, slots=True)
class Window:
    """The segments of one forward pass, in token order; a segment comes before those below it."""

    segments: tuple[Segment, ...]
    ends: tuple[tuple[int, int], ...] = ()
    """Each row, and the segment with its last token; empty where each segment is a row."""

    @property
    def rows(self) -> list[int]:
        """The rows of the window, in their original order."""
        return sorted(row for row, _ in self.ends) or [segment.row for segment in self.segments]

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
    return tuple(_window(rows, lengths) for rows in best_fit(lengths, capacity))


def best_fit(sizes: Sequence[int], capacity: int) -> list[list[int]]:
    """Best-fit decreasing: the items of each bin, ascending. Every item fits into a bin."""
    # (free space, bin), sorted: the tightest fit is found by bisection, so that packing a
    # whole validation set takes no time to speak of.
    free: list[tuple[int, int]] = []
    members: list[list[int]] = []
    for item in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        tightest = bisect_left(free, (sizes[item], 0))
        if tightest < len(free):
            space, chosen = free.pop(tightest)
        else:
            space, chosen = capacity, len(members)
            members.append([])
        insort(free, (space - sizes[item], chosen))
        members[chosen].append(item)
    return [sorted(items) for items in members]


def _window(rows: Sequence[int], lengths: Sequence[int]) -> Window:
    segments: list[Segment] = []
    start = 0
    for row in rows:
        segments.append(Segment(row, start, lengths[row]))
        start += lengths[row]
    return Window(tuple(segments))


def distinct_tokens(windows: Sequence[Window]) -> int:
    """Number of tokens that are computed."""
    return sum(window.n_tokens for window in windows)
