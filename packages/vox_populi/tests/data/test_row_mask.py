"""Facts about hand-made rows, each counted by hand."""

from __future__ import annotations

import pytest

from vox_populi.data.mask_tally import MOST_SOURCES, MaskCounts, MaskTally
from vox_populi.data.row_mask import Finding, MaskRules, mask_of
from vox_populi.data.row_sample import RowSample, SampledRow
from vox_tensor.records import EncodedRow

END, BOS, BLANK = 9, 1, 8


def row(*tokens: int | str) -> EncodedRow:
    """Ids; a learned one is written as text."""
    ids = tuple(int(token) for token in tokens)
    labels = tuple(int(t) if isinstance(t, str) else -100 for t in tokens)
    return EncodedRow(ids, labels, 1)


def findings(of: EncodedRow, seq_len: int | None = None, bos: int | None = None) -> set[Finding]:
    rules = MaskRules(seq_len=seq_len, end_ids={END}, bos_id=bos)
    return set(mask_of(of, rules).findings)


@pytest.mark.parametrize(
    ("tokens", "found"),
    [
        ((5, "6", "9"), set()),
        ((5, "6", "9", "8"), set()),
        ((5, "6", "9", "8", "8", "8"), {Finding.NO_END}),
        ((5, "6"), {Finding.NO_END}),
        ((5, "6", 9), {Finding.NO_END}),
        ((5, "6", "9", 5, "6", "9"), set()),
        ((5, "6", 5, "6", "9"), {Finding.NO_END}),
        ((5, 6, 9), set()),
    ],
)
def test_an_answer_needs_an_end_that_is_learned(
    tokens: tuple[int | str, ...], found: set[Finding]
) -> None:
    assert findings(row(*tokens)) == found


def test_a_cut_is_told_from_one_that_loses_the_end_of_an_answer() -> None:
    whole = row(5, "6", "9", 7, 7)
    assert findings(whole, 5) == set()
    assert findings(whole, 4) == {Finding.CUT}
    assert findings(whole, 2) == {Finding.CUT, Finding.CUT_END}


def test_bos_is_wanted_exactly_once_where_the_base_adds_it() -> None:
    assert findings(row(BOS, 5, "9"), bos=BOS) == set()
    assert findings(row(BOS, BOS, 5, "9"), bos=BOS) == {Finding.WRONG_BOS}
    assert findings(row(5, "9"), bos=BOS) == {Finding.WRONG_BOS}
    assert findings(row(BOS, BOS, "9")) == set()


def test_the_row_is_cut_and_narrowed_as_in_training() -> None:
    rules = MaskRules(seq_len=4, ce_last_k=1, end_ids={END})
    mask = mask_of(row(5, "6", "7", "8", "9"), rules)
    assert mask.row.ids == (5, 6, 7, 8)
    assert mask.row.labels == (-100, -100, -100, 8)
    assert mask.n_learned == 1


def test_sources_are_labels_until_there_are_too_many() -> None:
    tally = MaskTally()
    for file, label in [("a", "x"), ("a", "x"), ("a", None), ("b", "y")]:
        for counts in tally.places(file, label):
            counts.rows += 1
    assert {name: each.rows for name, each in tally.sources.items()} == {"x": 2, "a": 1, "y": 1}
    for i in range(MOST_SOURCES):
        for counts in tally.places("b", f"label {i}"):
            counts.rows += 1
    assert {name: each.rows for name, each in tally.sources.items()} == {"b": 51, "a": 3}
    assert tally.total.rows == 54


def test_a_sample_is_bounded_and_has_the_first_rows_with_each_finding() -> None:
    rules = MaskRules(seq_len=None, end_ids={END})
    sample = RowSample(most=10, most_a_finding=2)
    for i in range(1000):
        odd = i in (500, 600, 700)
        mask = mask_of(row(5, "6") if odd else row(5, "6", "9"), rules)
        sample.offer(SampledRow(f"f:{i}", "f", mask))
    places = [each.place for each in sample.rows]
    assert len(places) <= 12
    assert {"f:500", "f:600"} <= set(places)
    assert sample.seen == 1000
    assert places == sorted(places, key=lambda place: int(place[2:]))


def test_a_row_that_gives_several_is_one_row_with_the_tokens_of_all() -> None:
    rules = MaskRules(seq_len=3, end_ids={END})
    counts = MaskCounts(rows=1)
    counts.take([mask_of(row(5, "6", "9"), rules), mask_of(row(5, 6, 7, "6", "9"), rules)])
    counts.take([mask_of(row(5, 6, 7, "6", "9"), rules)] * 2)
    assert (counts.tokens, counts.learned_tokens) == (12, 2)
    assert counts.findings == {Finding.CUT: 2, Finding.CUT_END: 2}
