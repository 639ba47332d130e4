from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vox_tensor.packing import Segment, Window, pack_rows

CAPACITY = 64
LENGTHS = st.lists(st.integers(1, CAPACITY), max_size=60)


@given(LENGTHS)
def test_every_row_is_in_one_window_whole(lengths: list[int]) -> None:
    segments = [segment for window in pack_rows(lengths, CAPACITY) for segment in window.segments]
    assert sorted(segment.row for segment in segments) == list(range(len(lengths)))
    assert all(segment.length == lengths[segment.row] for segment in segments)


@given(LENGTHS)
def test_windows_have_no_gap_and_no_overflow(lengths: list[int]) -> None:
    for window in pack_rows(lengths, CAPACITY):
        position = 0
        for segment in window.segments:
            assert segment.start == position
            position += segment.length
        assert window.n_tokens == position <= CAPACITY


@given(LENGTHS)
def test_rows_of_a_window_keep_their_order(lengths: list[int]) -> None:
    for window in pack_rows(lengths, CAPACITY):
        rows = [segment.row for segment in window.segments]
        assert rows == sorted(rows)


@given(LENGTHS)
def test_no_two_windows_fit_into_one(lengths: list[int]) -> None:
    # What best fit guarantees: hence at most twice the windows that the tokens need.
    sizes = sorted(window.n_tokens for window in pack_rows(lengths, CAPACITY))
    assert len(sizes) < 2 or sizes[0] + sizes[1] > CAPACITY


@given(LENGTHS)
def test_packing_is_best_fit_decreasing_with_ties_to_the_earlier(lengths: list[int]) -> None:
    windows = pack_rows(lengths, CAPACITY)
    assert [[s.row for s in window.segments] for window in windows] == _by_the_book(lengths)


def _by_the_book(lengths: list[int]) -> list[list[int]]:
    """The definition, without a data structure."""
    windows: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda r: (-lengths[r], r)):
        space = [CAPACITY - sum(lengths[r] for r in window) for window in windows]
        fits = [(free, i) for i, free in enumerate(space) if free >= lengths[row]]
        if fits:
            windows[min(fits)[1]].append(row)
        else:
            windows.append([row])
    return [sorted(window) for window in windows]


def test_packing_of_a_small_case_computed_by_hand() -> None:
    assert pack_rows([3, 6, 4, 7], capacity=10) == (
        Window((Segment(0, 0, 3), Segment(3, 3, 7))),
        Window((Segment(1, 0, 6), Segment(2, 6, 4))),
    )


def test_no_rows_need_no_window() -> None:
    assert pack_rows([], CAPACITY) == ()


@pytest.mark.parametrize("bad", [0, -1, CAPACITY + 1])
def test_a_row_that_no_window_holds_is_refused_by_number(bad: int) -> None:
    with pytest.raises(ValueError, match=rf"row 2 has {bad} tokens"):
        pack_rows([1, CAPACITY, bad], CAPACITY)


@pytest.mark.parametrize(("rows_per_step", "capacity"), [(16, 2048), (64, 2048), (32, 4096)])
def test_ragged_rows_fill_the_windows_of_a_step(rows_per_step: int, capacity: int) -> None:
    draw = random.Random(1)
    lengths = [max(60, min(512, round(170 * math.e ** draw.gauss(0, 0.65)))) for _ in range(1600)]
    fills: list[float] = []
    for start in range(0, len(lengths), rows_per_step):
        windows = pack_rows(lengths[start : start + rows_per_step], capacity)
        tokens = sorted(window.n_tokens for window in windows)
        fills += [each / capacity for each in tokens[1:]]  # A step ends where its rows end.
    assert sum(fills) / len(fills) >= 0.95
