"""Rows spread over windows: every row once, the asked multiple, about the same size."""

from __future__ import annotations

import random

import pytest

from vox_tensor.spreading import spread_rows


@pytest.mark.parametrize("multiple", [1, 2, 4, 8])
def test_every_row_is_in_one_window_and_the_windows_are_a_multiple(multiple: int) -> None:
    draw = random.Random(multiple)
    for _ in range(50):
        lengths = [draw.randint(1, 90) for _ in range(draw.randint(multiple, 40))]
        windows = spread_rows(lengths, 100, multiple)
        assert len(windows) % multiple == 0 or len(windows) == len(lengths)
        assert sorted(s.row for w in windows for s in w.segments) == list(range(len(lengths)))
        for window in windows:
            assert 0 < window.n_tokens <= 100
            assert [s.row for s in window.segments] == sorted(s.row for s in window.segments)
            starts = [s.start for s in window.segments]
            ends = [s.start + s.length for s in window.segments]
            assert starts == [0, *ends[:-1]]


def test_windows_have_about_the_same_number_of_tokens() -> None:
    windows = spread_rows([10] * 12, 1000, 4)
    assert [window.n_tokens for window in windows] == [30, 30, 30, 30]
    # The longest row decides: the others fill what is left.
    windows = spread_rows([50, 10, 10, 10, 10, 10], 60, 2)
    assert [window.n_tokens for window in windows] == [50, 50]


def test_no_more_windows_than_are_needed() -> None:
    assert len(spread_rows([30] * 6, 100, 2)) == 2
    assert len(spread_rows([60] * 6, 100, 2)) == 6
    assert len(spread_rows([60] * 5, 100, 4)) == 5, "a window for each row"
    assert len(spread_rows([5, 5], 100, 8)) == 2, "fewer rows than windows"


@pytest.mark.parametrize("length", [0, 101])
def test_a_row_that_fits_no_window_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"row 1 has {length} tokens"):
        spread_rows([5, length], 100, 2)
