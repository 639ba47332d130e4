"""Spreading rows over windows of about equal size, for several processes to share. No torch.

`vox_tensor.packing` makes as few windows as it can; this makes a multiple of a given number, so
that as many processes have the same number of windows each, and about the same number of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

from vox_tensor.packing import Segment, Window


def spread_rows(lengths: Sequence[int], capacity: int, multiple: int) -> tuple[Window, ...]:
    """Place rows into the smallest multiple of `multiple` windows that holds them.

    The longest rows are placed first, each into the window with the fewest tokens (Graham 1969,
    "Bounds on multiprocessing timing anomalies"). Ties go to the earlier row and the earlier
    window, so the same lengths give the same windows. Within a window, rows keep their order.

    Args:
        lengths: Number of tokens of each row.
        capacity: Largest number of tokens in a window.
        multiple: The number of windows is a multiple of it, unless there are fewer rows: then each
            row has a window of its own.

    Raises:
        ValueError: For a row that is empty or longer than `capacity`.
    """
    for row, length in enumerate(lengths):
        if not 0 < length <= capacity:
            message = f"row {row} has {length} tokens, but a window takes 1 to {capacity}"
            raise ValueError(message)
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    least = -(-sum(lengths) // capacity)
    count = max(-(-least // multiple), 1) * multiple
    while (members := _spread(order, lengths, min(count, len(lengths)), capacity)) is None:
        count += multiple
    return tuple(_window(sorted(rows), lengths) for rows in members)


def _spread(
    order: Sequence[int], lengths: Sequence[int], count: int, capacity: int
) -> list[list[int]] | None:
    """The rows of each of `count` windows; `None` where one would hold too many tokens."""
    members: list[list[int]] = [[] for _ in range(count)]
    filled = [0] * count
    for row in order:
        window = min(range(count), key=lambda each: (filled[each], each))
        filled[window] += lengths[row]
        if filled[window] > capacity:
            return None
        members[window].append(row)
    return members


def _window(rows: Sequence[int], lengths: Sequence[int]) -> Window:
    segments: list[Segment] = []
    start = 0
    for row in rows:
        segments.append(Segment(row, start, lengths[row]))
        start += lengths[row]
    return Window(tuple(segments))
