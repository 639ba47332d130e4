from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vox_populi.corpus.validate import validate_corpus
from vox_populi.errors import DataError

RowWriter = Callable[..., Path]

PAIR = {"prompt": "p", "response": "r", "rating": 4}
TALK = {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}
UNLEARNED = {"messages": [{"role": "assistant", "content": "a", "weight": 0}]}


def test_a_good_corpus_is_counted_by_shape_and_rating(write_rows: RowWriter) -> None:
    report = validate_corpus(write_rows(PAIR, TALK, PAIR))
    assert report.ok
    assert (report.rows, report.accepted, report.rejected) == (3, 3, 0)
    assert report.shapes == {"messages": 1, "prompt_response": 2}
    assert report.ratings == {"4": 2, "unrated": 1}
    assert report.output is None


def test_labels_that_say_nothing_are_counted_and_their_rows_accepted(
    write_rows: RowWriter,
) -> None:
    report = validate_corpus(write_rows({**PAIR, "rating": 9, "lane": {}}, {**PAIR, "source": {}}))
    assert report.ok
    assert report.accepted == 2
    assert report.ignored_labels == {"lane": 1, "rating": 1, "source": 1}
    assert report.as_json()["ignored_labels"] == report.ignored_labels


def test_everything_wrong_is_reported_with_its_line(write_rows: RowWriter) -> None:
    path = write_rows(PAIR, "{", {"prompt": 1, "response": "r", "rating": 9}, UNLEARNED)
    report = validate_corpus(path)
    assert not report.ok
    assert [f"{p.code} {(p.where or '').rpartition(':')[2]}" for p in report.problems] == [
        "MENS-D005 2",
        "MENS-D031 3",
        "MENS-D043 4",
    ]
    assert (report.rows, report.accepted, report.rejected) == (4, 1, 3)
    assert report.problems_by_code["MENS-D031"] == 1


def test_equal_problems_are_one_with_its_lines(write_rows: RowWriter) -> None:
    report = validate_corpus(write_rows(*["{"] * 40, PAIR, "{"))
    (problem,) = [each.as_json() for each in report.problems]
    assert str(problem["where"]).endswith("train.jsonl:1-40,42")
    assert (problem["count"], problem["lines"]) == (41, [[1, 40], [42, 42]])
    assert report.problems_by_code == {"MENS-D005": 41}


def test_problems_are_capped_and_counted(write_rows: RowWriter) -> None:
    report = validate_corpus(write_rows(*(" " * n + "{" for n in range(100)), PAIR))
    assert len(report.problems) == 21
    assert report.problems_by_code == {"MENS-D005": 100}
    assert (report.accepted, report.rejected) == (1, 100)


def test_report_is_json(write_rows: RowWriter) -> None:
    fields = json.loads(json.dumps(validate_corpus(write_rows(PAIR, "{")).as_json()))
    assert (fields["rows"], fields["accepted"], fields["output"]) == (2, 1, None)
    assert fields["problems"][0]["code"] == "MENS-D005"


def test_accepted_rows_are_copied_with_their_keys(write_rows: RowWriter, tmp_path: Path) -> None:
    extra = {"zebra": 1, **PAIR, "apple": ["é"]}
    path = write_rows(extra, "{", TALK)
    before = path.read_bytes()
    output = tmp_path / "accepted.jsonl"
    report = validate_corpus(path, output)
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert rows == [extra, TALK]
    assert list(rows[0]) == list(extra)
    assert (report.output, report.accepted, report.rejected) == (output, 2, 1)
    assert path.read_bytes() == before


def test_the_input_is_never_the_output(write_rows: RowWriter, tmp_path: Path) -> None:
    path = write_rows(PAIR, "{")
    before = path.read_bytes()
    with pytest.raises(DataError, match="MENS-D063"):
        validate_corpus(path, path)
    with pytest.raises(DataError, match="MENS-D063"):
        validate_corpus(path, tmp_path / "." / path.name)
    try:
        (tmp_path / "link.jsonl").symlink_to(path)
    except OSError:
        pytest.skip("no symbolic links here")
    with pytest.raises(DataError, match="MENS-D063"):
        validate_corpus(path, tmp_path / "link.jsonl")
    assert path.read_bytes() == before


def test_a_corpus_without_a_good_row_replaces_nothing(
    write_rows: RowWriter, tmp_path: Path
) -> None:
    output = tmp_path / "accepted.jsonl"
    output.write_text("kept", encoding="utf-8")
    report = validate_corpus(write_rows("{"), output)
    assert report.output is None
    assert output.read_text(encoding="utf-8") == "kept"


def test_an_empty_corpus_is_a_problem(write_rows: RowWriter) -> None:
    report = validate_corpus(write_rows())
    assert [problem.code for problem in report.problems] == ["MENS-D046"]


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="MENS-D001"):
        validate_corpus(tmp_path / "nowhere.jsonl")
