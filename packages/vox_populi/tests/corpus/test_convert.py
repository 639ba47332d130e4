from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vox_populi.corpus.convert import ConvertReport, ConvertRequest, convert_rows
from vox_populi.corpus.row_layouts import RowTarget, converted_row
from vox_populi.data.dataset import OnBadRow
from vox_populi.data.row_formats import parse_row
from vox_populi.errors import DataError, PreflightError

RowWriter = Callable[..., Path]
Row = dict[str, Any]


def to(target: str, row: Mapping[str, object]) -> Row:
    return converted_row(row, parse_row(row, 1, "x"), RowTarget(target))


def turns(*texts: str, **last: object) -> list[Row]:
    roles = ["user", "assistant"] * len(texts)
    made: list[Row] = [
        {"role": role, "content": text} for role, text in zip(roles, texts, strict=False)
    ]
    made[-1] |= last
    return made


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
TALK: Row = {
    "tools": TOOLS,
    "messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Q", "name": "ada"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "1", "tool_call_id": "c1", "name": "f"},
        {"role": "assistant", "content": "A", "reasoning_content": "hm", "weight": 0, "id": 7},
        {"role": "user", "content": "R"},
        {"role": "assistant", "content": "B", "tool_calls": [CALL, CALL]},
    ],
    "source": "s",
    "extra": {"deep": [1, None, "é"]},
}


@pytest.mark.parametrize("target", ["messages", "sharegpt"])
def test_a_conversation_with_everything_survives_the_round_trip(target: str) -> None:
    there = to(target, TALK)
    assert there["extra"] == TALK["extra"]
    assert to("messages", there) == TALK


def test_layouts_are_those_that_others_read() -> None:
    row = {"instruction": "Translate.", "input": "Hallo", "output": "Hello", "category": "c"}
    assert to("messages", row) == {
        "messages": turns("Translate.\nHallo", "Hello"),
        "category": "c",
    }
    assert to("sharegpt", row) == {
        "conversations": [
            {"from": "human", "value": "Translate.\nHallo"},
            {"from": "gpt", "value": "Hello"},
        ],
        "category": "c",
    }
    talk = {"messages": [{"role": "system", "content": "S"}, *turns("a", "b", "c", "d")], "id": 1}
    assert to("alpaca", talk) == {
        "instruction": "c",
        "input": "",
        "output": "d",
        "system": "S",
        "history": [["a", "b"]],
        "id": 1,
    }


def test_a_call_of_sharegpt_is_its_own_turn() -> None:
    call = {"name": "f", "arguments": {"x": 1}}
    row = {"messages": turns("q", "", content=None, tool_calls=[call]), "tools": TOOLS}
    there = to("sharegpt", row)
    assert there["conversations"][1] == {"from": "function_call", "value": json.dumps(call)}
    assert json.loads(there["tools"]) == TOOLS


@pytest.mark.parametrize(
    ("target", "row"),
    [
        ("alpaca", TALK),
        ("alpaca", {"messages": turns("a", "b", weight=1), "tools": TOOLS}),
        ("alpaca", {"messages": turns("a", "b", "c")}),
        ("alpaca", {"messages": turns("a", "b")[::-1]}),
        ("alpaca", {"messages": [*turns("a", "b", weight=0), *turns("c", "d")]}),
        ("alpaca", {"messages": [*turns("a", "b", reasoning_content="r"), *turns("c", "d")]}),
        ("alpaca", {"messages": [*turns("a", "b"), {"role": "system", "content": "late"}]}),
        ("alpaca", {"messages": [{"role": "developer", "content": "d"}, *turns("a", "b")]}),
        ("alpaca", {"text": "whole"}),
        ("sharegpt", {"text": "whole"}),
        ("alpaca", {"messages": turns(" ", "b")}),
    ],
)
def test_what_a_layout_cannot_hold_is_refused(target: str, row: Row) -> None:
    with pytest.raises(DataError) as caught:
        to(target, row)
    assert [problem.code for problem in caught.value.problems] == ["MENS-D234"]


def test_metadata_that_would_change_the_meaning_moves() -> None:
    row = {"messages": turns("a", "b", when=3), "prompt": "old", "input": "x", "note": None}
    assert to("messages", row) == row
    alpaca = to("alpaca", row)
    assert alpaca == {
        "instruction": "a",
        "input": "",
        "output": "b",
        "note": None,
        "original_fields": {"prompt": "old", "input": "x", "messages[1]": {"when": 3}},
    }
    both = {"prompt": "a", "response": "b", "context": ["not", "text"], "original_fields": {"k": 1}}
    assert to("messages", both) == {
        "messages": turns("a", "b"),
        "context": ["not", "text"],
        "original_fields": {"k": 1},
    }


def test_an_answer_keeps_its_reasoning_in_every_layout() -> None:
    row = {"prompt": "a", "response": "b", "thinking": "t"}
    for target in ("messages", "sharegpt", "alpaca"):
        assert parse_row(to(target, row), 1, "x").messages[-1].reasoning == "t"


TEXT = st.text(st.sampled_from("ab \n\u2028é<|"), min_size=1, max_size=6).filter(str.strip)
LABELS = st.fixed_dictionaries(
    {},
    optional={
        "source": TEXT,
        "rating": st.sampled_from([1, 4.5, "5", 9]),
        "weight": st.sampled_from([0.5, 2]),
        "lane": st.lists(TEXT, max_size=2),
        "meta": st.dictionaries(TEXT, st.integers() | st.none(), max_size=2),
    },
)
TURN = st.builds(
    lambda role, text, extra: {"role": role, "content": text, **extra},
    st.sampled_from(["user", "system", "tool", "developer"]),
    TEXT,
    st.sampled_from([{}, {"name": "n"}, {"at": 1}, {"tool_call_id": "c1"}]),
)
ANSWER = st.builds(
    lambda text, extra: {"role": "assistant", "content": text, **extra},
    TEXT,
    st.sampled_from(
        [{}, {"weight": 0}, {"train": True}, {"tool_calls": [CALL]}, {"thinking": "t"}]
    ),
)
PAIRS = st.builds(
    lambda prompt, answer, extra: {prompt: "q", answer: "a", **extra},
    st.sampled_from(["prompt", "instruction", "question", "query"]),
    st.sampled_from(["response", "output", "completion", "answer"]),
    st.sampled_from(
        [{}, {"input": "i"}, {"system": "s"}, {"history": [["x", "y"]]}, {"text": "t"}]
    ),
)
ROWS = st.builds(
    lambda layout, labels: {**layout, **labels},
    PAIRS
    | st.builds(
        lambda key, before, answer, after: {key: [*before, answer, *after]},
        st.sampled_from(["messages", "turns", "conversations", "conversation"]),
        st.lists(TURN, max_size=3),
        ANSWER,
        st.lists(TURN | ANSWER, max_size=2),
    ),
    LABELS,
)


@settings(max_examples=150)
@given(ROWS, st.permutations(["messages", "sharegpt", "alpaca"]))
def test_any_way_through_the_layouts_says_the_same(row: Row, path: list[str]) -> None:
    def said(each: Mapping[str, object]) -> object:
        record = parse_row(each, 1, "x")
        labels = (record.source, record.rating, record.lane, record.weight, record.tools)
        return [(m.role, m.content, m.learn, m.extras) for m in record.messages], labels

    current: Mapping[str, object] = row
    for target in path:
        try:
            current = to(target, current)
        except DataError:
            assert target == "alpaca"
            continue
        assert said(current) == said(row)
        assert current.get("meta") == row.get("meta")


def convert(path: Path, target: str, **fields: Any) -> ConvertReport:
    output = path.parent / "out.jsonl"
    request = ConvertRequest(files=(path,), target=RowTarget(target), output=output, **fields)
    return convert_rows(request)


def test_files_become_one_in_their_order(write_rows: RowWriter, tmp_path: Path) -> None:
    one = write_rows({"prompt": "a", "response": "b"}, name="one.jsonl")
    two = write_rows(TALK, {"text": "t"}, name="two.jsonl")
    request = ConvertRequest(
        files=(one, two), target=RowTarget.MESSAGES, output=tmp_path / "new" / "out.jsonl"
    )
    report = convert_rows(request)
    lines = [json.loads(line) for line in request.output.read_text("utf-8").splitlines()]
    assert lines == [{"messages": turns("a", "b")}, TALK, {"text": "t"}]
    assert report.layouts == {"messages": 1, "prompt_response": 1, "text": 1}
    before = request.output.read_bytes()
    convert_rows(request)
    assert request.output.read_bytes() == before


def test_bad_rows_are_all_listed_or_all_left_out(write_rows: RowWriter, tmp_path: Path) -> None:
    path = write_rows({"prompt": "a", "response": "b"}, "no", {"text": "t"}, {"text": "u"})
    with pytest.raises(DataError) as caught:
        convert(path, "sharegpt")
    where = [problem.where for problem in caught.value.problems]
    assert where == [f"{path}:2", f"{path}:3-4"]
    assert list(tmp_path.iterdir()) == [path]
    report = convert(path, "sharegpt", on_bad_row=OnBadRow.SKIP)
    assert (report.rows, report.skipped) == (1, 3)
    assert report.skipped_by_code == {"MENS-D005": 1, "MENS-D234": 2}
    assert len(report.notes) == 1


def test_nothing_is_overwritten(write_rows: RowWriter, tmp_path: Path) -> None:
    path = write_rows({"prompt": "a", "response": "b"})
    (tmp_path / "out.jsonl").write_text("mine\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        convert(path, "alpaca")
    assert caught.value.problems[0].code == "MENS-D230"
    assert (tmp_path / "out.jsonl").read_text(encoding="utf-8") == "mine\n"
    convert(path, "alpaca", force=True)
    with pytest.raises(PreflightError):
        convert_rows(ConvertRequest(files=(path,), target=RowTarget.ALPACA, output=path))


def test_a_file_without_rows_is_refused(write_rows: RowWriter) -> None:
    with pytest.raises(DataError) as caught:
        convert(write_rows(), "alpaca")
    assert caught.value.problems[0].code == "MENS-D046"


def through_parquet(tmp_path: Path, rows: list[Row]) -> list[Row]:
    """Rows that were written as Parquet and read again, as messages."""
    source, table, back = (tmp_path / name for name in ("in.jsonl", "t.parquet", "back.jsonl"))
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for path, target, output in (
        (source, RowTarget.PARQUET, table),
        (table, RowTarget.MESSAGES, back),
    ):
        request = ConvertRequest(files=(path,), target=target, output=output, force=True)
        assert convert_rows(request).rows == len(rows)
    return [json.loads(line) for line in back.read_text(encoding="utf-8").splitlines()]


MANY: list[Row] = [
    TALK,
    {"text": "t", "rating": 4, "source": ["a", "b"], "big": 2**70},
    {"messages": turns("a", "b"), "rating": 4.5, "source": "s", "note": None, "flag": True},
    {"messages": turns("c", "d", at="x", name=7), "lane": "l", "flag": False, "note": "n"},
    {"messages": turns("e", "f"), "big": 5, "mixed": "x", "vox_extra": "mine"},
    {"messages": turns("g", "h"), "mixed": 3, "text": "beside", "weight": 2},
]


def test_every_row_survives_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs vox-populi[parquet]")
    assert through_parquet(tmp_path, MANY) == MANY
    (tmp_path / "one").mkdir()
    plain = [{"messages": turns("a", "b"), "source": f"s{i}", "n": i} for i in range(2500)]
    assert through_parquet(tmp_path / "one", plain) == plain


def test_parquet_has_the_columns_that_others_expect(tmp_path: Path) -> None:
    parquet: Any = pytest.importorskip("pyarrow.parquet", reason="needs vox-populi[parquet]")
    through_parquet(tmp_path, MANY)
    table = parquet.read_table(tmp_path / "t.parquet")
    found = table.to_pylist()
    assert [turn["role"] for turn in found[0]["messages"]][:3] == ["developer", "user", "assistant"]
    call = found[0]["messages"][2]["tool_calls"][0]
    assert call == {**CALL, "function": {"name": "f", "arguments": '{"x": 1}'}}
    assert [row["rating"] for row in found] == [None, 4.0, 4.5, None, None, None]
    assert found[1]["source"] == "a, b", "a label that some rows have as text is text in all"
    assert json.loads(found[1]["vox_extra"]) == {"source": ["a", "b"], "big": 2**70}
    (tmp_path / "plain").mkdir()
    through_parquet(tmp_path / "plain", [{"prompt": "a", "response": "b", "id": 1}])
    table = parquet.read_table(tmp_path / "plain" / "t.parquet")
    assert table.to_pylist() == [{"messages": turns("a", "b"), "id": 1}]
    assert parquet.ParquetFile(tmp_path / "t.parquet").schema_arrow.names[-1] == "vox_extra"


def test_parquet_is_written_whole_and_alike(write_rows: RowWriter, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs vox-populi[parquet]")
    path = write_rows({"prompt": "a", "response": "b"}, "no")
    with pytest.raises(DataError):
        convert(path, "parquet")
    assert list(tmp_path.iterdir()) == [path]
    convert(path, "parquet", on_bad_row=OnBadRow.SKIP)
    convert(path, "parquet", on_bad_row=OnBadRow.SKIP)  # the same bytes, so not occupied
