from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from vox_populi.data.data_report import DropReason
from vox_populi.data.dataset import (
    DatasetOptions,
    OnBadRow,
    OnLongRow,
    RowDataset,
    open_dataset,
    split_validation,
)
from vox_populi.data.row_files.open_rows import open_rows
from vox_populi.data.row_formats import parse_row
from vox_populi.data.supervision import encode_record
from vox_populi.data.training_text import TextPolicy
from vox_populi.errors import DataError
from vox_tensor.records import IGNORE_INDEX
from vox_tensor.tokenizer import VoxTokenizer

RowWriter = Callable[..., Path]

VOX = VoxTokenizer()
POLICY = TextPolicy()
SKIP_BAD = DatasetOptions(on_bad_row=OnBadRow.SKIP)


def pair(prompt: str, response: str, **extra: object) -> dict[str, object]:
    return {"prompt": prompt, "response": response, **extra}


def unlearned() -> dict[str, object]:
    answer = {"role": "assistant", "content": "a", "weight": 0}
    return {"messages": [{"role": "user", "content": "u"}, answer]}


def opened(path: Path, options: DatasetOptions | None = None) -> RowDataset:
    return open_dataset(open_rows(path), VOX, POLICY, options or DatasetOptions())


def refused(path: Path, options: DatasetOptions | None = None) -> list[str]:
    with pytest.raises(DataError) as caught:
        opened(path, options)
    return [f"{p.code} {Path(p.where or '').name}" for p in caught.value.problems]


def test_rows_are_those_of_the_file_in_order(write_rows: RowWriter) -> None:
    rows = [pair("one", "1"), pair("two", "22"), pair("three", "333")]
    dataset = opened(write_rows(*rows))
    expected = [
        encode_record(parse_row(row, line, "f"), VOX, POLICY) for line, row in enumerate(rows, 1)
    ]
    assert list(dataset) == expected
    assert [row.line for row in dataset] == [1, 2, 3]
    assert list(dataset.lengths) == [len(row) for row in expected]
    assert [row.n_supervised for row in dataset] == [2, 3, 4]
    assert (len(dataset), dataset.n_supervised) == (3, 9)
    assert dataset.n_tokens == sum(map(len, expected))
    assert dataset[-1] == dataset[2]
    with pytest.raises(IndexError):
        dataset[3]


def test_records_can_be_read_back(write_rows: RowWriter) -> None:
    dataset = opened(write_rows(pair("p", "r", source="s"), pair("q", "t", rating=1)))
    assert dataset.record(0).source == "s"
    assert (dataset.record(1).messages[0].content, dataset.record(1).line) == ("q", 2)


@pytest.mark.parametrize("text", ["\u2028", "\x85", "\f", "\N{GRINNING FACE}", "é\tü"])
def test_offsets_hold_for_any_text(write_rows: RowWriter, text: str) -> None:
    lines = [f'{{"prompt": "{i}é", "response": "{i}"}}' for i in range(3)]
    dataset = opened(write_rows(*lines, pair(text + "x", text + "y"), lines[0]))
    assert dataset.record(3).messages[1].content == text + "y"
    assert [dataset.record(i).messages[1].content for i in (0, 4)] == ["0", "0"]


def test_byte_order_mark_crlf_and_blank_end_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    line = b'{"prompt": "p", "response": "r"}'
    path.write_bytes(b"\xef\xbb\xbf" + line + b"\r\n" + line + b"\r\n\r\n\n")
    dataset = opened(path)
    assert [row.line for row in dataset] == [1, 2]
    assert dataset[0].ids == dataset[1].ids
    assert dataset.report.rows == 2


def test_unrated_rows_pass_the_rating_floor(write_rows: RowWriter) -> None:
    path = write_rows(*(pair("p", str(r), rating=r) for r in (None, 1, 2, 3, 4, 5)))
    dataset = opened(path, DatasetOptions(min_rating=3))
    assert [row.line for row in dataset] == [1, 4, 5, 6]
    assert dataset.report.dropped[DropReason.LOW_RATING] == 2
    assert dataset.report.rows == 6


def test_context_filter_is_a_substring_of_the_category_in_any_case(write_rows: RowWriter) -> None:
    categories = (None, "Tool_Trace", "my-tool_trace-2", "code")
    path = write_rows(*(pair("p", "r", category=c) for c in categories))
    dataset = opened(path, DatasetOptions(context_filter="TOOL_trace"))
    assert [row.line for row in dataset] == [2, 3]
    assert dataset.report.dropped[DropReason.CONTEXT_FILTER] == 2


def test_a_filter_that_leaves_no_rows_reports_what_it_dropped(write_rows: RowWriter) -> None:
    path = write_rows(pair("p", "r", rating=1), pair("p", "r"))
    with pytest.raises(DataError, match=r"MENS-D047.*1 low_rating, 1 context_filter"):
        opened(path, DatasetOptions(min_rating=3, context_filter="code"))


def test_all_bad_rows_are_reported_in_one_pass(write_rows: RowWriter) -> None:
    path = write_rows(pair("p", "r"), "{", pair("p", ""), "", "[]", unlearned(), pair("q", "s"))
    assert refused(path) == [
        "MENS-D005 train.jsonl:2",
        "MENS-D032 train.jsonl:3",
        "MENS-D012 train.jsonl:4",
        "MENS-D009 train.jsonl:5",
        "MENS-D043 train.jsonl:6",
    ]


def test_reported_rows_are_capped_and_counted(write_rows: RowWriter) -> None:
    with pytest.raises(DataError) as caught:
        opened(write_rows(*(" " * n + "{" for n in range(50))))
    problems = caught.value.problems
    assert len(problems) == 21
    assert "30 more" in problems[-1].what


def test_bad_rows_can_be_skipped_and_are_counted(write_rows: RowWriter) -> None:
    rows = [pair("p", "r"), "{", pair("p", ""), unlearned(), pair("q", "s")]
    dataset = opened(write_rows(*rows), SKIP_BAD)
    report = dataset.report
    assert [row.line for row in dataset] == [1, 5]
    assert (report.rows, report.kept) == (5, 2)
    assert report.dropped[DropReason.BAD_ROW] == 2
    assert report.dropped[DropReason.NOTHING_TO_LEARN] == 1
    assert [problem.code for problem in report.skipped] == ["MENS-D005", "MENS-D032", "MENS-D043"]


def test_skipping_everything_is_an_error(write_rows: RowWriter) -> None:
    assert refused(write_rows("{", "["), SKIP_BAD) == ["MENS-D047 train.jsonl"]


@pytest.mark.parametrize("options", [DatasetOptions(), SKIP_BAD])
def test_a_fully_masked_file_is_one_error(write_rows: RowWriter, options: DatasetOptions) -> None:
    assert refused(write_rows(*[unlearned()] * 30), options) == ["MENS-D044 train.jsonl"]


@pytest.mark.parametrize("options", [DatasetOptions(), SKIP_BAD])
def test_an_empty_file_is_one_error(write_rows: RowWriter, options: DatasetOptions) -> None:
    assert refused(write_rows(), options) == ["MENS-D046 train.jsonl"]
    assert refused(write_rows("", "  "), options) == ["MENS-D046 train.jsonl"]


@pytest.mark.parametrize("options", [DatasetOptions(), SKIP_BAD])
def test_a_missing_file_or_a_folder_is_one_error(tmp_path: Path, options: DatasetOptions) -> None:
    assert refused(tmp_path / "nowhere.jsonl", options) == ["MENS-D001 nowhere.jsonl"]
    assert refused(tmp_path, options) == [f"MENS-D002 {tmp_path.name}"]


def test_long_rows_keep_their_start(write_rows: RowWriter) -> None:
    path = write_rows(pair("p", "r"), pair("p", "r" * 100))
    limit = opened(path).lengths[0] + 10
    dataset = opened(path, DatasetOptions(seq_len=limit))
    assert list(dataset.lengths) == [limit - 10, limit]
    assert dataset[1].ids == opened(path)[1].ids[:limit]
    assert dataset[1].labels[-1] != IGNORE_INDEX
    assert dataset.report.truncated == 1
    assert dataset.report.longest == limit


def test_long_rows_can_be_skipped_or_refused(write_rows: RowWriter) -> None:
    path = write_rows(pair("p", "r" * 100), pair("p", "r"))
    limit = opened(path).lengths[1]
    skipping = DatasetOptions(seq_len=limit, on_long_row=OnLongRow.SKIP)
    dataset = opened(path, skipping)
    assert [row.line for row in dataset] == [2]
    assert dataset.report.dropped[DropReason.TOO_LONG] == 1
    strict = DatasetOptions(seq_len=limit, on_long_row=OnLongRow.ERROR, on_bad_row=OnBadRow.SKIP)
    assert refused(path, strict) == ["MENS-D045 train.jsonl:1"]


def test_a_prompt_that_fills_the_sequence_leaves_nothing_to_learn(write_rows: RowWriter) -> None:
    path = write_rows(pair("p", "r"), pair("p" * 100, "r"))
    limit = opened(path).lengths[0]
    assert refused(path, DatasetOptions(seq_len=limit)) == ["MENS-D043 train.jsonl:2"]
    skipping = DatasetOptions(seq_len=limit, on_bad_row=OnBadRow.SKIP)
    assert [row.line for row in opened(path, skipping)] == [1]


def test_only_the_end_of_an_answer_is_learned_and_counted(write_rows: RowWriter) -> None:
    path = write_rows(pair("p", "r" * 9), pair("p", "s"), pair("p", "t" * 99))
    limit = opened(path).lengths[0]
    narrow = opened(path, DatasetOptions(ce_last_k=3, seq_len=limit))
    whole = opened(path, DatasetOptions(seq_len=limit))
    assert [row.n_supervised for row in whole] == [10, 2, 10]
    assert [row.n_supervised for row in narrow] == [3, 2, 3]
    assert (narrow.n_supervised, narrow.report.supervised_tokens) == (8, 8)
    assert [row.n_supervised for row in narrow] == [3, 2, 3]
    assert [row.ids for row in narrow] == [row.ids for row in whole]
    assert narrow[2].labels[-3:] == whole[2].labels[-3:]


def test_select_keeps_the_order_asked_for(write_rows: RowWriter) -> None:
    dataset = opened(write_rows(*(pair("p", "r" * n) for n in range(1, 6))))
    some = dataset.select([3, 0])
    assert [row.line for row in some] == [4, 1]
    assert list(some.lengths) == [dataset.lengths[3], dataset.lengths[0]]
    assert (some.n_supervised, some.digest) == (7, dataset.digest)
    assert len(dataset.select([])) == 0


def test_a_file_that_changes_underneath_is_an_error(write_rows: RowWriter) -> None:
    path = write_rows(pair("p", "r"), pair("q", "s"))
    dataset = opened(path)
    write_rows(pair("p", "r"), pair("changed", "s"))
    with pytest.raises(DataError, match="MENS-D048"):
        dataset.record(0)


def test_a_touched_file_is_still_the_same(write_rows: RowWriter) -> None:
    path = write_rows(pair("p", "r"))
    dataset = opened(path)
    before = dataset.record(0)
    os.utime(path, ns=(1, 1))
    assert dataset.record(0) == before


def test_digest_follows_the_bytes(write_rows: RowWriter) -> None:
    first = opened(write_rows(pair("p", "r"), name="a.jsonl"))
    same = opened(write_rows(pair("p", "r"), name="b.jsonl"))
    other = opened(write_rows(pair("p", "R"), name="c.jsonl"))
    assert first.digest == same.digest != other.digest
    assert first.digest.startswith("sha256:")


def test_opening_writes_nothing(write_rows: RowWriter) -> None:
    path = write_rows(pair("p", "r"))
    before = path.read_bytes()
    list(opened(path))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_options_refuse_a_sequence_without_tokens() -> None:
    with pytest.raises(ValueError, match="seq_len"):
        DatasetOptions(seq_len=0)
    with pytest.raises(ValueError, match="ce_last_k"):
        DatasetOptions(ce_last_k=0)


@pytest.mark.parametrize(
    ("n_rows", "ratio", "expected"),
    [
        (0, 0.05, 0),
        (20, 0.05, 1),
        (20, 0.01, 0),
        (21, 0.05, 10),
        (21, 0.0, 0),
        (100, 0.05, 10),
        (1000, 0.05, 50),
        (1000, 0.9, 500),
        (10, 0.9, 9),
    ],
)
def test_split_sizes_are_the_source_systems(n_rows: int, ratio: float, expected: int) -> None:
    train, valid = split_validation(n_rows, ratio, seed=42)
    assert len(valid) == expected
    assert sorted([*train, *valid]) == list(range(n_rows))
    assert list(train) == sorted(train)
    assert list(valid) == sorted(valid)


def test_split_depends_on_the_seed_alone() -> None:
    first = split_validation(200, 0.1, seed=1)
    random.seed(99)
    assert split_validation(200, 0.1, seed=1) == first
    assert split_validation(200, 0.1, seed=2) != first


def test_split_has_not_changed() -> None:
    """Held-out rows of a resumed or repeated run must be the same on every Python."""
    assert list(split_validation(40, 0.05, seed=42)[1]) == [1, 2, 9, 13, 15, 18, 21, 23, 33, 36]
