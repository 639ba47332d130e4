from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vox_populi.data.row_files.open_rows import open_rows
from vox_populi.data.row_files.row_file import FileRow
from vox_populi.errors import DataError
from vox_tensor.errors import Problem

MESSAGES = [{"role": "user", "content": 'a,\n"b"'}, {"role": "assistant", "content": "c"}]
CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


def scanned(path: Path, content: bytes) -> list[FileRow | Problem]:
    path.write_bytes(content)
    try:
        return list(open_rows(path).scan())
    except DataError as error:
        return list(error.problems)


def rows(path: Path, content: str | bytes) -> list[dict[str, object]]:
    items = scanned(path, content.encode() if isinstance(content, str) else content)
    assert all(isinstance(item, FileRow) for item in items), items
    return [item.value for item in items if isinstance(item, FileRow)]


def findings(path: Path, content: bytes) -> list[str]:
    problems = [item for item in scanned(path, content) if isinstance(item, Problem)]
    assert all("private" not in str(problem) for problem in problems)
    return [f"{p.code}{(p.where or '').removeprefix(str(path))}" for p in problems]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "train.csv"


PAIR = [{"prompt": "a", "response": "b"}]


@pytest.mark.parametrize(
    "content",
    [
        b"prompt,response\na,b\n",
        b"prompt,response\r\na,b",
        b"\xef\xbb\xbfprompt,response\r\na,b\r\n",
        b"prompt;response\na;b\n",
        b"prompt|response\na|b\n",
        b"prompt\tresponse\na\tb\n",
        b'"prompt","response"\n"a","b"\n\n',
        b"Prompt,RESPONSE,\na,b,\n",
        b",prompt,response\n0,a,b\n",
        b" prompt , response \na,b,,\n",
        "prompt\tresponse\na\tb\n".encode("utf-16"),
        b"prompt,response,note\na,b,\n",
    ],
)
def test_tables_as_programs_write_them(path: Path, content: bytes) -> None:
    assert rows(path, content) == PAIR


def test_the_name_is_no_matter_if_the_content_tells(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.tsv", "a"):
        assert rows(tmp_path / name, "prompt,response\na,b\n") == PAIR
    assert rows(tmp_path / "a.csv", '{"prompt": "a", "response": "b"}\n') == PAIR


def test_one_column_is_a_table_only_by_name(tmp_path: Path) -> None:
    assert rows(tmp_path / "a.csv", "text\none\n") == [{"text": "one"}]


def test_quoted_cells_hold_breaks_quotes_and_delimiters(path: Path) -> None:
    content = 'prompt,response\n"a,\r\n""b""\n\nc","d"\ne,5" wide\n'
    assert rows(path, content) == [
        {"prompt": 'a,\r\n"b"\n\nc', "response": "d"},
        {"prompt": "e", "response": '5" wide'},
    ]


def test_lists_are_json_and_a_weight_is_a_number(path: Path) -> None:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["messages", "weight", "rating", "prompt", "category"])
    writer.writerow([json.dumps(MESSAGES), "2", "4", json.dumps(MESSAGES), "[{"])
    writer.writerow([json.dumps(MESSAGES), "heavy", "", "[{not messages", ""])
    assert rows(path, out.getvalue()) == [
        {
            "messages": MESSAGES,
            "weight": 2.0,
            "rating": "4",
            "prompt": MESSAGES,
            "category": "[{",
        },
        {"messages": MESSAGES, "weight": "heavy", "prompt": "[{not messages"},
    ]


def test_each_bad_row_is_one_problem_and_the_rest_is_read(path: Path) -> None:
    content = b'prompt,response\na,b\nprivate\na,b,private\n"a"b,c\nok,ok\nprompt is long,"["\n'
    assert findings(path, content) == [
        "MENS-D166:row:2",
        "MENS-D166:row:3",
        "MENS-D167:row:4",
    ]
    listed = b"messages\n\"[{'role': 'user'}]\"\n"
    assert findings(path, listed) == ["MENS-D168:row:1"]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"prompt,prompt\na,b\n", "MENS-D165"),
        (b"prompt,Prompt\na,b\n", "MENS-D165"),
        (b'"prompt,response\na,b\n', "MENS-D167"),
        (b"prompt,response\ncaf\xe9,b\n", "MENS-D169"),
        (b'prompt,response\na,b\n"c,d\n', "MENS-D167:row:2"),
        (b'prompt,response\na,"' + (b"x" * 2**16 + b"\n") * 2**8, "MENS-D171"),
        (b"prompt,response\na," + b"x" * (9 * 2**20), "MENS-D171"),
    ],
    ids=["twice", "twice by case", "header", "latin 1", "open at end", "open for long", "long"],
)
def test_a_broken_table_is_one_line(path: Path, content: bytes, found: str) -> None:
    assert findings(path, content) == [found]


def test_text_with_commas_is_no_table(tmp_path: Path) -> None:
    prose = "Hello, world.\nYes, it is.\n"
    assert rows(tmp_path / "a.md", prose)[0]["text"] == prose.strip()
    assert rows(tmp_path / "a.txt", "prompt,response\na,b\n") == PAIR


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=5), st.sampled_from(",;\t|"))
@settings(max_examples=60, deadline=None)
def test_what_a_table_writer_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]], delimiter: str
) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerow(["prompt", "instruction"])
    writer.writerows(cells)
    path = tmp_path_factory.mktemp("table") / "a.csv"
    expected = [
        {k: v for k, v in zip(("prompt", "instruction"), each, strict=True) if v} for each in cells
    ]
    assert rows(path, out.getvalue()) == expected
