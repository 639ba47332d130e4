from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vox_populi.corpus.length_counts import OTHER_LABELS, LabelCounts, LengthCounts
from vox_populi.corpus.stats import corpus_stats
from vox_populi.errors import DataError
from vox_tensor.records import TrainingRecord

RowWriter = Callable[..., Path]


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=300))
def test_quantiles_are_those_of_the_sorted_lengths(lengths: list[int]) -> None:
    counts = LengthCounts()
    for length in lengths:
        counts.add(length)
    ranked = sorted(lengths)
    for name, found in counts.quantiles().items():
        share = float(name[1:]) / 100
        exact = next(n for i, n in enumerate(ranked, 1) if i >= share * len(ranked))
        assert found <= exact <= found * (1 + 2**-9)
        assert found == exact or exact > 1023
    assert (counts.least, counts.greatest) == (ranked[0], ranked[-1])
    assert (counts.count, counts.total) == (len(lengths), sum(lengths))


def test_lengths_take_bounded_memory() -> None:
    counts, draw = LengthCounts(), random.Random(1)
    for _ in range(20_000):
        counts.add(int(2 ** draw.uniform(0, 40)))
    assert len(counts.buckets) < 17_000


def test_labels_beyond_the_limit_are_counted_together() -> None:
    counts = LabelCounts()
    for label in (*map(str, range(1200)), "7", "1100"):
        counts.add(label)
    assert counts.ranked()[OTHER_LABELS] == 201
    assert len(counts.ranked()) == 1001
    assert list(counts.ranked())[:2] == [OTHER_LABELS, "7"]


def test_rows_are_counted_by_layout_label_and_length(write_rows: RowWriter) -> None:
    talk = {"messages": [{"role": "user", "content": "abc"}, {"role": "assistant", "content": "d"}]}
    one = write_rows(
        {"prompt": "ab", "response": "cdef", "source": "s", "rating": 4.5},
        {"instruction": "ab", "output": "c", "category": "k"},
        "no row",
        name="one.jsonl",
    )
    two = write_rows(talk, {"messages": []}, name="two.jsonl")
    report = corpus_stats([one, two], lambda record, where: len(record.messages) * 5)
    assert [(each.rows, each.bad_rows) for each in report.files] == [(2, 1), (1, 1)]
    assert report.labels["layout"] == {"prompt_response": 2, "messages": 1}
    assert report.labels["source"] == {"(none)": 2, "s": 1}
    assert report.labels["rating"] == {"(none)": 2, "4.5": 1}
    totals = {name: counts.total for name, counts in report.lengths.items()}
    assert totals == {
        "turns": 6,
        "characters": 13,
        "prompt_characters": 7,
        "answer_characters": 6,
        "tokens": 30,
    }
    assert report.as_json()["bad_rows"] == 2
    assert len(report.notes) == 2


def test_a_row_that_cannot_be_encoded_is_a_bad_row(write_rows: RowWriter) -> None:
    path = write_rows({"prompt": "a", "response": "b"}, "no row")

    def refuse(record: TrainingRecord, where: str) -> int:
        corpus_stats([Path(where) / "none"])
        return 0

    report = corpus_stats([path], refuse)
    assert (report.files[0].rows, report.files[0].bad_rows) == (0, 2)
    assert report.lengths["characters"].count == 0


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        corpus_stats([tmp_path / "none.jsonl"])


def test_the_whole_row_is_counted(write_rows: RowWriter) -> None:
    call = {"function": {"name": "now", "arguments": {"zone": "x"}}}
    tool = {"type": "function", "function": {"name": "now", "parameters": {}}}
    answer = {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [call]}
    row = {"messages": [{"role": "user", "content": "Time?"}, answer], "tools": [tool]}
    lengths = corpus_stats([write_rows(row)]).lengths
    said = len("hm") + len("now") + len('{"zone": "x"}')
    assert lengths["answer_characters"].total == said
    assert lengths["prompt_characters"].total == len("Time?") + len(json.dumps([tool]))
    assert lengths["characters"].total == sum(
        lengths[name].total for name in ("prompt_characters", "answer_characters")
    )
