"""Forests of rows that begin alike: what is computed, what is not lost, what stays the same."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vox_tensor.packing import Segment, Window, distinct_tokens, pack_rows
from vox_tensor.prefix_forest import WHAT_PAYS, SharingRule, pack_shared

CAPACITY = 24
Row = tuple[int, ...]
EVERYTHING = SharingRule(least_length=1, least_saved=1, least_part=0.0)
RULES = st.builds(
    SharingRule,
    least_length=st.integers(1, 4),
    least_saved=st.integers(1, 6),
    least_part=st.sampled_from([0.0, 0.2]),
)


@st.composite
def related_rows(draw: st.DrawFn) -> list[Row]:
    """Rows that go on from a part of one before them, as answers and turns of a talk do."""
    tokens = st.lists(st.integers(0, 1), min_size=1, max_size=8)
    rows: list[Row] = [tuple(draw(tokens))]
    for _ in range(draw(st.integers(0, 8))):
        parent = rows[draw(st.integers(0, len(rows) - 1))]
        kept = draw(st.integers(0, len(parent)))
        rows.append((*parent[:kept], *draw(tokens))[:CAPACITY])
    return rows


def row_of(window: Window, rows: list[Row], end: int) -> list[int]:
    """The tokens from a root to the end of a segment, as the window has them."""
    tokens: list[int] = []
    index: int | None = end
    while index is not None:
        segment = window.segments[index]
        first = segment.position
        assert len(rows[segment.row]) >= first + segment.length
        tokens[:0] = rows[segment.row][first : first + segment.length]
        index = segment.parent
    return tokens


def placed(window: Window) -> tuple[tuple[int, int], ...]:
    return window.ends or tuple((each.row, i) for i, each in enumerate(window.segments))


@given(related_rows(), RULES)
def test_every_row_can_be_read_in_one_window(rows: list[Row], rule: SharingRule) -> None:
    windows = pack_shared(rows, CAPACITY, rule)
    found = sorted((row, window) for window in windows for row, _ in placed(window))
    assert [row for row, _ in found] == list(range(len(rows)))
    for window in windows:
        for row, end in placed(window):
            path = row_of(window, rows, end)
            assert tuple(path[: len(rows[row])]) == rows[row]
            assert window.segments[end].position < len(rows[row])


@given(related_rows(), RULES)
def test_segments_lie_end_to_end_below_the_ones_before_them(
    rows: list[Row], rule: SharingRule
) -> None:
    for window in pack_shared(rows, CAPACITY, rule):
        assert window.n_tokens <= CAPACITY
        start = 0
        for index, each in enumerate(window.segments):
            assert (each.start, each.length > 0) == (start, True)
            start += each.length
            if each.parent is None:
                assert each.position == 0
            else:
                above = window.segments[each.parent]
                assert each.parent < index
                assert each.position == above.position + above.length
        _assert_nested(window)


def _assert_nested(window: Window) -> None:
    """What is below a segment is laid out right after it, without anything between."""
    for one, other in pairwise(window.segments):
        ancestors: set[int | None] = {None}
        segment = one
        while True:
            ancestors.add(window.segments.index(segment))
            if segment.parent is None:
                break
            segment = window.segments[segment.parent]
        assert other.parent in ancestors


@given(related_rows(), RULES)
def test_only_long_enough_segments_are_shared(rows: list[Row], rule: SharingRule) -> None:
    for window in pack_shared(rows, CAPACITY, rule):
        shared = {each.parent for each in window.segments} - {None}
        for index in shared:
            assert index is not None
            below = [each for each in window.segments if each.parent == index]
            assert len(below) > 1, "a segment that one alone continues is one with it"
            assert window.segments[index].length >= rule.least_length


@given(related_rows())
def test_with_room_for_all_the_distinct_tokens_are_computed(rows: list[Row]) -> None:
    # The definition of a trie: as many tokens as there are different beginnings.
    beginnings = {row[:n] for row in rows for n in range(1, len(row) + 1)}
    (window,) = pack_shared(rows, capacity=10_000, rule=EVERYTHING)
    assert window.n_tokens == len(beginnings)


@given(related_rows(), RULES)
def test_sharing_never_computes_more(rows: list[Row], rule: SharingRule) -> None:
    shared = pack_shared(rows, CAPACITY, rule)
    assert distinct_tokens(shared) <= sum(map(len, rows))


@given(st.lists(st.integers(1, CAPACITY), max_size=20))
def test_rows_with_nothing_in_common_are_packed_as_ever(lengths: list[int]) -> None:
    rows = [tuple(range(100 * i, 100 * i + n)) for i, n in enumerate(lengths)]
    assert pack_shared(rows, CAPACITY) == pack_rows(lengths, CAPACITY)


@given(related_rows(), st.randoms(use_true_random=False))
def test_the_order_of_rows_decides_no_count(rows: list[Row], chance: random.Random) -> None:
    shuffled = rows[:]
    chance.shuffle(shuffled)
    counts = [distinct_tokens(pack_shared(r, 10_000, EVERYTHING)) for r in (rows, shuffled)]
    assert counts[0] == counts[1]


def test_answers_to_one_prompt_are_below_it() -> None:
    prompt = tuple(range(32))
    rows = [(*prompt, 90, 91), (7, 8), (*prompt, 92)]
    assert pack_shared(rows, 100) == (
        Window(
            (
                Segment(0, 0, 32),
                Segment(0, 32, 2, parent=0, position=32),
                Segment(2, 34, 1, parent=0, position=32),
                Segment(1, 35, 2),
            ),
            ((0, 1), (1, 3), (2, 2)),
        ),
    )


def test_a_talk_split_by_turn_is_one_segment() -> None:
    rows = [(1, 2, 3), (1,), (1, 2, 3, 4, 5), (1, 2, 3)]
    assert pack_shared(rows, 100) == (
        Window((Segment(2, 0, 5),), ((0, 0), (1, 0), (2, 0), (3, 0))),
    )


@pytest.mark.parametrize(
    ("length", "n_ways", "n_below", "pays"),
    [(16, 3, 100, True), (15, 9, 100, False), (31, 2, 100, False), (32, 2, 1100, False)],
)
def test_a_segment_is_shared_where_it_pays(
    length: int, n_ways: int, n_below: int, *, pays: bool
) -> None:
    assert WHAT_PAYS.keeps(length, n_ways, n_below) is pays
    prompt = tuple(range(length))
    parts = [n_below // n_ways + (i < n_below % n_ways) for i in range(n_ways)]
    rows = [(*prompt, *range(1000 * i, 1000 * i + n)) for i, n in enumerate(parts, start=1)]
    (window,) = pack_shared(rows, 10_000)
    assert window.n_tokens == n_below + length * (1 if pays else n_ways)


def test_two_prompts_that_begin_alike_are_shared_in_full() -> None:
    # What is left of the first prompt after the second went another way is short, but saves much.
    head, first, second = range(35), range(100, 125), range(200, 235)
    rows = [(*head, *tail, 1000 * i) for tail in (first, second) for i in range(1, 11)]
    (window,) = pack_shared(rows, 10_000)
    assert window.n_tokens == 35 + 25 + 35 + 20


def test_a_tree_beyond_a_window_begins_again_in_the_next() -> None:
    prompt = tuple(range(40))
    rows = [(*prompt, 100 + i, 200 + i) for i in range(6)]
    windows = pack_shared(rows, 46)
    assert [window.n_tokens for window in windows] == [46, 46]
    assert [len(window.ends) for window in windows] == [3, 3]


@pytest.mark.parametrize("bad", [0, 25])
def test_a_row_that_is_empty_or_too_long_is_refused(bad: int) -> None:
    with pytest.raises(ValueError, match="row 1 has"):
        pack_shared([(1,), (1,) * bad], CAPACITY)


def test_a_deep_forest_needs_no_recursion() -> None:
    rows = [(*(0,) * (2 * i), 1) for i in range(1, 1200)]
    (window,) = pack_shared(rows, 10**7, rule=EVERYTHING)
    assert window.n_tokens == 2 * 1199 + 1199
