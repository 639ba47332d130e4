from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packages.vox_populi.tests.schemas import load_schema, meets_schema
from vox_populi.corpus.row_metadata import with_metadata
from vox_populi.corpus.tool_trace import (
    TOOL_TRACE_ANSWER_KEYS,
    TOOL_TRACE_TAG,
    RecordFormat,
    row_of_record,
)
from vox_populi.data.row_formats import parse_row
from vox_populi.errors import DataError

PLACE = "traces.jsonl:7"
TRACE: dict[str, Any] = {
    "task_prompt": "List the files.",
    "tool_name": "shell",
    "arguments_json": '{"command": "ls"}',
    "result_json": '["a.txt", "b.txt"]',
    "success": True,
}


def row(kind: RecordFormat = RecordFormat.TOOL_TRACE, **fields: object) -> dict[str, Any]:
    base = TRACE if kind is RecordFormat.TOOL_TRACE else {}
    return row_of_record({**base, **fields}, kind, PLACE)


def problems(value: dict[str, object], kind: RecordFormat = RecordFormat.TOOL_TRACE) -> list[str]:
    with pytest.raises(DataError) as caught:
        row_of_record(value, kind, PLACE)
    assert {each.where for each in caught.value.problems} == {PLACE}
    return [f"{each.code} {each.what}" for each in caught.value.problems]


@pytest.mark.requirement("13")
def test_tool_trace_becomes_a_prompt_and_the_call_as_json() -> None:
    made = row(session_id="7f3a")
    tag, task, order = made["prompt"].split("\n", 2)
    assert (tag, task) == (TOOL_TRACE_TAG, "List the files.")
    assert all(key in order for key in TOOL_TRACE_ANSWER_KEYS)
    assert json.loads(made["response"]) == {
        "tool_name": "shell",
        "arguments": {"command": "ls"},
        "result": ["a.txt", "b.txt"],
        "success": True,
    }
    assert (made["category"], made["source"]) == ("tool_trace", "tool_trace:7f3a")
    record = parse_row(with_metadata(made), 7, "traces.jsonl")
    assert (record.category, record.lane) == ("tool_trace", "vox_tooling")


@pytest.mark.requirement("13")
def test_tool_trace_answers_with_the_followup_where_there_is_one() -> None:
    assert row(followup_text="There are two.")["response"] == "There are two."
    for blank in (None, "", "  \n"):
        assert json.loads(row(followup_text=blank)["response"])["tool_name"] == "shell"


@pytest.mark.requirement("13")
def test_tool_trace_carries_its_rating_over() -> None:
    assert row(rating=2, difficulty=7)["rating"] == 2
    assert row(difficulty=7)["difficulty"] == 7
    assert "rating" not in row(rating=None)
    assert parse_row(row(rating=2), 7, "traces.jsonl").rating == 2
    beyond = parse_row(row(rating=9), 7, "traces.jsonl")
    assert (beyond.rating, beyond.ignored) == (None, ("rating",))


@pytest.mark.parametrize("text", ["no json", "", "{", '{"a": 1, "a": 2}', "NaN", "[" * 200])
def test_tool_trace_keeps_text_that_is_not_json_as_a_string(text: str) -> None:
    assert json.loads(row(result_json=text)["response"])["result"] == text
    assert json.loads(row(result_json='{"a": 1}')["response"])["result"] == {"a": 1}


@pytest.mark.requirement("13")
@pytest.mark.parametrize("key", TRACE)
def test_tool_trace_needs_each_of_its_five_fields(key: str) -> None:
    lacking = {name: value for name, value in TRACE.items() if name != key}
    assert [each.partition(" ")[0] for each in problems(lacking)] == ["MENS-D031"]
    assert f"{key} is missing" in problems(lacking)[0]
    assert f"{key} is null" in problems({**TRACE, key: None})[0]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("task_prompt", 1),
        ("task_prompt", ["a"]),
        ("tool_name", {}),
        ("arguments_json", {"command": "ls"}),
        ("result_json", 4.0),
        ("success", 1),
        ("success", "true"),
        ("followup_text", 3),
        ("session_id", 3),
    ],
)
def test_tool_trace_fields_have_strict_types_and_are_never_quoted(key: str, value: object) -> None:
    found = problems({**TRACE, key: value})
    assert len(found) == 1
    assert found[0].startswith(f"MENS-D031 {key} is ")
    assert "ls" not in found[0]


def test_tool_trace_reports_everything_at_once() -> None:
    codes = [each.split(" ")[:2] for each in problems({"tool_name": " ", "success": "yes"})]
    assert codes == [
        ["MENS-D031", "task_prompt"],
        ["MENS-D032", "tool_name"],
        ["MENS-D031", "arguments_json"],
        ["MENS-D031", "result_json"],
        ["MENS-D031", "success"],
    ]


JSON_VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.just(["x"]))


@given(
    value=st.fixed_dictionaries(
        {},
        optional={
            key: st.one_of(JSON_VALUES, st.just(TRACE.get(key, 3)))
            for key in (*TRACE, "followup_text", "session_id", "rating")
        },
    )
)
def test_tool_trace_schema_says_what_the_reader_says(value: dict[str, object]) -> None:
    valid = meets_schema(value, "tool-trace-record")
    try:
        parse_row(row_of_record(value, RecordFormat.TOOL_TRACE, PLACE), 7, "traces.jsonl")
    except DataError:
        assert not valid
    else:
        assert valid


def test_tool_trace_schema_takes_the_example_and_other_keys() -> None:
    schema = load_schema("tool-trace-record")
    assert set(schema["required"]) == set(TRACE)
    assert meets_schema({**TRACE, "model": "x", "rating": 5}, "tool-trace-record")
    assert not meets_schema({**TRACE, "success": 1}, "tool-trace-record")


def test_a_corrected_transcript_becomes_a_row() -> None:
    kind = RecordFormat.ASR_REFINE
    made = row(kind, noisy_text="helo wrld", corrected_text="hello world", rating=4)
    assert "helo wrld" in made["prompt"]
    assert (made["response"], made["category"], made["rating"]) == ("hello world", "asr_refine", 4)
    assert with_metadata(made)["lane"] == "vox_speech"
    ready = row(kind, prompt="p", response="r", category="speech_fix", source="s")
    assert ready == {"prompt": "p", "response": "r", "category": "speech_fix", "source": "s"}
    assert len(problems({"prompt": "only"}, kind)) == 2


def test_code_from_speech_becomes_a_row() -> None:
    kind = RecordFormat.SPEECH_TO_CODE
    made = row(kind, transcript="one plus one", code="1 + 1", transcript_alternatives=["won"])
    assert "one plus one" in made["prompt"]
    assert (made["response"], made["category"]) == ("1 + 1", "speech_to_code")
    assert made["transcript_alternatives"] == ["won"]
    refined = row(kind, transcript="a", refined_transcript="b", code="c", vox_code="d")
    assert refined["prompt"].split("\n")[1] == "b"
    assert refined["response"] == "d"
    assert len(problems({"transcript_alternatives": "won"}, kind)) == 3


def test_a_row_in_our_format_is_used_unchanged() -> None:
    value = {"messages": [], "tools": 1, "anything": None}
    assert row_of_record(value, RecordFormat.ROWS, PLACE) == value
