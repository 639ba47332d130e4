from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vox_tensor import data_messages
from vox_tensor.errors import DataError, Problem
from vox_tensor.jsonl import (
    JsonLine,
    line_offsets,
    parse_jsonl_line,
    read_jsonl,
    scan_jsonl,
    write_jsonl,
)
from vox_tensor.problem_log import MAX_PROBLEMS

SENTINEL = "private"
GOOD = b'{"a": 1}'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


def scan(path: Path, content: bytes, **limits: int) -> list[JsonLine | Problem]:
    path.write_bytes(content)
    return list(scan_jsonl(path, **limits))


def rows(path: Path, content: bytes) -> list[tuple[int, dict[str, object]]]:
    path.write_bytes(content)
    return [(row.line, row.value) for row in read_jsonl(path)]


def findings(path: Path, content: bytes, **limits: int) -> list[tuple[str, str]]:
    """Code and place of each problem; the place without the folder."""
    problems = [item for item in scan(path, content, **limits) if isinstance(item, Problem)]
    assert all(SENTINEL not in str(problem) for problem in problems)
    return [(p.code, str(p.where).removeprefix(str(path))) for p in problems]


@pytest.mark.parametrize(
    "content",
    [
        GOOD + b"\n" + GOOD,
        GOOD + b"\n" + GOOD + b"\n",
        GOOD + b"\r\n" + GOOD + b"\r\n",
        b"\xef\xbb\xbf" + GOOD + b"\n" + GOOD,
        GOOD + b"\n" + GOOD + b"\n\n",
        GOOD + b"\n" + GOOD + b"\r\n \t\r\n\n  ",
        b"  " + GOOD + b"\t\n\t" + GOOD + b" \r\n",
    ],
    ids=["lf", "lf at end", "crlf", "bom", "blank end", "blank ends", "spaces"],
)
def test_odd_but_valid_files_are_read(path: Path, content: bytes) -> None:
    assert rows(path, content) == [(1, {"a": 1}), (2, {"a": 1})]


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_a_file_without_rows_has_none_and_no_problem(path: Path, content: bytes) -> None:
    assert scan(path, content) == []


@pytest.mark.parametrize("inside", ["\x85", "\u2028", "\u2029", "\x7f", "\U0001f600"])
def test_lines_end_at_newlines_only(path: Path, inside: str) -> None:
    content = json.dumps({"a": inside}, ensure_ascii=False).encode() + b"\n" + GOOD
    assert rows(path, content) == [(1, {"a": inside}), (2, {"a": 1})]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"\xff\xfe{}", "MENS-D004"),
        (b'{"a": "private\xff"}', "MENS-D004"),
        (b'{"a": "\xed\xa0\x80"}', "MENS-D004"),
        (b"\x1f\x8b\x08\x00", "MENS-D004"),
        (b'{"a": "private"', "MENS-D005"),
        (b'{"private": 1}{"b": 2}', "MENS-D005"),
        (b"private", "MENS-D005"),
        (b"\xef\xbb\xbf{}", "MENS-D005"),
        (b"\x00", "MENS-D005"),
        (b"\x0c", "MENS-D005"),
        (b'{"private": 1, "private": 2}', "MENS-D006"),
        (b'{"a": NaN}', "MENS-D007"),
        (b'{"a": 1e400}', "MENS-D007"),
        (b'{"a": "private\\ud800"}', "MENS-D008"),
        (b'["private"]', "MENS-D009"),
        (b'"private"', "MENS-D009"),
        (b"null", "MENS-D009"),
        (b"17", "MENS-D009"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "MENS-D010"),
        (b'{"a": ' + b"[" * 100_000, "MENS-D010"),
        (b'{"a": ' + b"1" * 5000 + b"}", "MENS-D011"),
    ],
)
def test_a_bad_line_is_named_and_the_others_are_read(path: Path, line: bytes, code: str) -> None:
    content = GOOD + b"\n" + line + b"\n" + GOOD + b"\n"
    assert findings(path, content) == [(code, ":2")]
    assert [item.line for item in scan(path, content) if isinstance(item, JsonLine)] == [1, 3]


def test_the_byte_of_bad_utf8_is_named(path: Path) -> None:
    (problem,) = scan(path, b'{"a": "\xff"}')
    assert isinstance(problem, Problem)
    assert problem.what == "byte 8 of the line is not UTF-8."


def test_a_line_that_was_cut_off_is_named(path: Path) -> None:
    assert findings(path, GOOD + b"\n" + GOOD[:-1]) == [("MENS-D005", ":2")]


def test_blank_lines_between_rows_are_one_problem_per_run(path: Path) -> None:
    content = b"\n" + GOOD + b"\n\n \n\r\n" + GOOD + b"\n" + GOOD + b"\n\n\n"
    assert findings(path, content) == [("MENS-D012", ":1"), ("MENS-D012", ":3")]
    assert [item.line for item in scan(path, content) if isinstance(item, JsonLine)] == [2, 6, 7]


def test_a_blank_run_before_a_bad_line_is_reported_first(path: Path) -> None:
    assert findings(path, GOOD + b"\n\n[]\n") == [("MENS-D012", ":2"), ("MENS-D009", ":3")]


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_over_the_cap_is_skipped_whole(path: Path, end: bytes) -> None:
    long = b'{"private": "' + b"x" * 3_000_000 + b'"}'
    content = GOOD + b"\n" + long + end
    assert findings(path, content, max_line_bytes=1000) == [("MENS-D003", ":2")]
    problem, row = scan(path, long + b"\n" + GOOD + end, max_line_bytes=1000)
    assert isinstance(problem, Problem)
    assert (problem.code, problem.where) == ("MENS-D003", f"{path}:1")
    assert row == JsonLine(2, {"a": 1})


def test_the_cap_counts_the_line_s_end(path: Path) -> None:
    content = GOOD + b"\n" + GOOD
    assert findings(path, content, max_line_bytes=len(GOOD)) == [("MENS-D003", ":1")]
    assert findings(path, content, max_line_bytes=len(GOOD) + 1) == []


def test_the_usual_cap_lets_a_megabyte_pass(path: Path) -> None:
    value = {"a": "x" * 2**20}
    assert rows(path, json.dumps(value).encode()) == [(1, value)]


def test_a_file_that_cannot_be_read_is_one_problem(tmp_path: Path) -> None:
    for path, code in ((tmp_path / "none", "MENS-D001"), (tmp_path, "MENS-D002")):
        (problem,) = scan_jsonl(path)
        assert isinstance(problem, Problem)
        assert (problem.code, problem.where) == (code, str(path))
        with pytest.raises(DataError) as caught:
            list(read_jsonl(path))
        assert caught.value.problems == (problem,)
        with pytest.raises(DataError) as caught:
            line_offsets(path)
        assert caught.value.problems == (problem,)


def test_read_gives_the_rows_before_and_reports_all_bad_lines(path: Path) -> None:
    path.write_bytes(GOOD + b"\n[]\n" + GOOD + b"\nx\n")
    reader = read_jsonl(path)
    assert next(reader) == JsonLine(1, {"a": 1})
    with pytest.raises(DataError) as caught:
        next(reader)
    assert [p.where for p in caught.value.problems] == [f"{path}:2", f"{path}:4"]


@pytest.mark.parametrize("extra", [0, 1, 5])
def test_problems_beyond_the_cap_are_counted(path: Path, extra: int) -> None:
    # Each at another character, so that none is equal to another.
    lines = [b" " * n + b"x\n" for n in range(MAX_PROBLEMS + extra)]
    path.write_bytes(b"".join(lines))
    with pytest.raises(DataError) as caught:
        list(read_jsonl(path))
    shown, rest = caught.value.problems[:MAX_PROBLEMS], caught.value.problems[MAX_PROBLEMS:]
    assert [p.where for p in shown] == [f"{path}:{n + 1}" for n in range(MAX_PROBLEMS)]
    assert rest == ((data_messages.more_problems(extra).at(str(path)),) if extra else ())


def test_equal_problems_are_one_with_their_lines(path: Path) -> None:
    path.write_bytes(b"[]\n" * 1000)
    with pytest.raises(DataError) as caught:
        list(read_jsonl(path))
    (problem,) = caught.value.problems
    assert problem.where == f"{path}:1-1000"


LINES = st.lists(
    st.sampled_from([GOOD, b"", b"[]", b'{"b": "\xc3\xa9\xe2\x80\xa8"}', b"x" * 5000, b"\r"])
)


@given(lines=LINES, bom=st.booleans(), newline_at_end=st.booleans())
def test_offsets_find_the_lines_that_a_scan_reads(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], bom: bool, newline_at_end: bool
) -> None:
    ended = [line + b"\n" for line in lines]
    if ended and not newline_at_end:
        ended[-1] = lines[-1]
    path = tmp_path_factory.getbasetemp() / "offsets.jsonl"
    path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + b"".join(ended))

    offsets, raw = line_offsets(path), path.read_bytes()

    pieces = [raw[start:end] for start, end in pairwise(offsets)]
    assert pieces == [line for line in ended if line]
    for item in scan_jsonl(path):
        if isinstance(item, JsonLine):
            assert parse_jsonl_line(pieces[item.line - 1], item.line, str(path)) == item


def test_offsets_cross_the_border_of_a_chunk(path: Path) -> None:
    line = b"x" * 699_999 + b"\n"
    path.write_bytes(line * 4)
    assert list(line_offsets(path)) == [0, 700_000, 1_400_000, 2_100_000, 2_800_000]


def test_offsets_of_an_empty_file(path: Path) -> None:
    path.write_bytes(b"")
    assert list(line_offsets(path)) == [0]


def test_a_line_read_by_offset_names_its_place() -> None:
    problem = parse_jsonl_line(b"[]\n", 17, "rows.jsonl")
    assert isinstance(problem, Problem)
    assert (problem.code, problem.where) == ("MENS-D009", "rows.jsonl:17")


ROWS = st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.none(), max_size=4))


@pytest.mark.any_install
@given(ROWS)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, values: list[dict[str, object]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.jsonl"
    assert write_jsonl(path, values) == len(values)
    assert [row.value for row in read_jsonl(path)] == values


def test_written_lines_are_lines_to_every_reader(path: Path) -> None:
    write_jsonl(path, [{"a": "é\u2028\u2029\x85\x0c\n"}, {"b": 1}])
    text = path.read_bytes().decode()
    assert text.splitlines() == ['{"a": "é\\u2028\\u2029\\u0085\\f\\n"}', '{"b": 1}']


@pytest.mark.parametrize("bad", [{"a": float("nan")}, {"a": float("inf")}, {"a": "\ud800"}])
def test_a_row_that_could_not_be_read_again_is_not_written(
    path: Path, bad: dict[str, object]
) -> None:
    path.write_bytes(GOOD)
    with pytest.raises(ValueError, match=r"JSON compliant|surrogates"):
        write_jsonl(path, [{"a": 1}, bad])
    assert path.read_bytes() == GOOD
    assert list(path.parent.iterdir()) == [path]
