from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from vox_populi.data.row_formats import parse_row
from vox_populi.errors import DataError
from vox_tensor.records import Message, MessageExtras, Role, ToolCall, TrainingRecord

SECRET = "hunter2"
WEATHER = {"name": "weather", "description": "Weather of a city.", "parameters": {}}
TOOL = {"type": "function", "function": WEATHER}
ARGUMENTS = {"city": "Łódź", "days": 2}
CALL = ToolCall("weather", ARGUMENTS, "call_1")
USER = {"role": "user", "content": "u"}


def parsed(*turns: object, **fields: object) -> TrainingRecord:
    return parse_row({"messages": list(turns), **fields}, 1, "f")


def codes(row: Mapping[str, object]) -> list[str]:
    with pytest.raises(DataError) as caught:
        parse_row(row, 7, "f")
    assert SECRET not in str(caught.value)
    return [problem.code for problem in caught.value.problems]


def call(arguments: object = ARGUMENTS, **changes: object) -> dict[str, Any]:
    function = {"name": "weather", "arguments": arguments}
    return {"id": "call_1", "type": "function", "function": function, **changes}


@pytest.mark.parametrize(
    "turn",
    [
        {"content": None, "tool_calls": [call()]},
        {"content": "", "tool_calls": [call(json.dumps(ARGUMENTS))]},
        {"tool_calls": [call()]},
        {"tool_calls": [{"id": "call_1", "name": "weather", "arguments": ARGUMENTS}]},
        {"tool_calls": [{"id": "call_1", "name": "weather", "parameters": ARGUMENTS}]},
        {"tool_calls": json.dumps([call()])},
        {"tool_calls": [call()], "function_call": None},
    ],
)
def test_a_call_in_any_form_is_the_same_call(turn: dict[str, object]) -> None:
    (_, message) = parsed(USER, {"role": "assistant", **turn}).messages
    assert message == Message(Role.ASSISTANT, "", True, MessageExtras(tool_calls=(CALL,)))
    assert message.tool_calls == (CALL,)


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "assistant", "function_call": {"name": "weather", "arguments": ARGUMENTS}},
        {
            "role": "assistant",
            "content": None,
            "function_call": {"name": "weather", "arguments": json.dumps(ARGUMENTS)},
        },
        {"from": "function_call", "value": json.dumps({"name": "weather", "arguments": ARGUMENTS})},
        {"role": "tool_call", "content": json.dumps({"name": "weather", "arguments": ARGUMENTS})},
    ],
)
def test_the_old_form_and_sharegpts_are_calls_without_an_id(turn: dict[str, object]) -> None:
    (_, message) = parsed(USER, turn).messages
    assert message.tool_calls == (ToolCall("weather", ARGUMENTS),)
    assert (message.role, message.content, message.learn) == (Role.ASSISTANT, "", True)


def test_text_beside_a_call_several_calls_and_calls_without_arguments() -> None:
    turn = {
        "role": "assistant",
        "content": "Let me see.",
        "tool_calls": [call(), call(None, id="b"), call("", id="c"), call("{}", id=4)],
    }
    (_, message) = parsed(USER, turn).messages
    assert message.content == "Let me see."
    assert message.tool_calls == (
        CALL,
        ToolCall("weather", {}, "b"),
        ToolCall("weather", {}, "c"),
        ToolCall("weather", {}),
    )


def test_answers_of_tools_have_the_id_of_the_call_and_the_name_of_the_tool() -> None:
    asked = {"role": "assistant", "tool_calls": [call()]}
    told = {"role": "tool", "tool_call_id": "call_1", "name": "weather", "content": "rain"}
    done = {"role": "assistant", "content": "It rains."}
    message = parsed(USER, asked, told, done).messages[2]
    extras = MessageExtras(tool_call_id="call_1", name="weather")
    assert message == Message(Role.TOOL, "rain", True, extras)
    old = {"role": "function", "name": "weather", "content": {"sky": "rain"}}
    message = parsed(USER, asked, old, done).messages[2]
    assert (message.name, message.content) == ("weather", '{"sky": "rain"}')
    share = {"from": "observation", "value": "rain"}
    assert parsed(USER, asked, share, done).messages[2] == Message(Role.TOOL, "rain")


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [TOOL]},
        {"tools": [WEATHER]},
        {"tools": [{"function": WEATHER}]},
        {"functions": [WEATHER]},
        {"tools": json.dumps([WEATHER])},
        {"tools": json.dumps([TOOL]), "functions": [WEATHER]},
        {"tools": WEATHER},
    ],
)
def test_definitions_in_any_form_are_openais(fields: dict[str, object]) -> None:
    record = parsed(USER, {"role": "assistant", "content": "a"}, **fields)
    assert record.tools == (TOOL,)
    pair = parse_row({"prompt": "p", "response": "r", **fields}, 1, "f")
    assert pair.tools == (TOOL,)


@pytest.mark.parametrize("nothing", [None, [], "", " ", "[]"])
def test_no_definitions(nothing: object) -> None:
    assert parsed(USER, {"role": "assistant", "content": "a"}, tools=nothing).tools == ()


def test_calls_in_answer_to_a_query() -> None:
    row = {
        "query": "Weather?",
        "tools": json.dumps([WEATHER]),
        "answers": json.dumps([{"name": "weather", "arguments": ARGUMENTS}]),
    }
    record = parse_row(row, 1, "f")
    assert record.messages[1].tool_calls == (ToolCall("weather", ARGUMENTS),)
    assert record.tools == (TOOL,)


@pytest.mark.parametrize("key", ["reasoning_content", "thinking", "reasoning"])
def test_reasoning_under_any_name(key: str) -> None:
    record = parsed(USER, {"role": "assistant", "content": "a", key: "why"})
    assert record.messages[1] == Message(Role.ASSISTANT, "a", True, MessageExtras(reasoning="why"))
    for nothing in (None, "", "  "):
        record = parsed(USER, {"role": "assistant", "content": "a", key: nothing})
        assert record.messages[1] == Message(Role.ASSISTANT, "a")


def test_reasoning_of_a_pair() -> None:
    record = parse_row({"prompt": "p", "response": "r", "reasoning_content": "why"}, 1, "f")
    assert record.messages[1].reasoning == "why"
    record = parse_row({"prompt": "p", "response": "r", "reasoning": "a good row"}, 1, "f")
    assert record.messages[1].reasoning is None


def test_names_and_ids_of_other_types_are_left_out() -> None:
    record = parsed({**USER, "name": 3}, {"role": "assistant", "content": "a", "name": "bob"})
    assert [message.name for message in record.messages] == [None, "bob"]


def answered(**turn: object) -> dict[str, object]:
    return {"messages": [USER, {"role": "assistant", **turn}]}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (answered(tool_calls=[call(f"no {SECRET}")]), ["MENS-D181"]),
        (answered(tool_calls=[call("[1]")]), ["MENS-D031"]),
        (answered(tool_calls=[call([SECRET])]), ["MENS-D031"]),
        (answered(tool_calls=[call('{"a": 1, "a": 2}')]), ["MENS-D181"]),
        (answered(tool_calls=[{"id": SECRET}]), ["MENS-D032"]),
        (answered(tool_calls=[SECRET]), ["MENS-D031"]),
        (answered(tool_calls=SECRET), ["MENS-D181"]),
        (answered(content="a", tool_calls={"a": SECRET}), ["MENS-D032"]),
        (answered(content=None), ["MENS-D031"]),
        (answered(content="", tool_calls=[]), ["MENS-D032"]),
        (answered(content="a", reasoning_content=[SECRET]), ["MENS-D031"]),
        (answered(content="a", reasoning="b", thinking=SECRET), ["MENS-D180"]),
        (
            answered(tool_calls=[call()], function_call={"name": "other", "arguments": "{}"}),
            ["MENS-D180"],
        ),
        ({"messages": [{"from": "function_call", "value": SECRET}]}, ["MENS-D181"]),
        ({"messages": [{"from": "function_call", "value": None}]}, ["MENS-D032"]),
        (
            {"messages": [{**USER, "tool_calls": [call()]}, {"role": "assistant", "content": "a"}]},
            ["MENS-D182"],
        ),
        ({"prompt": "p", "response": "r", "tools": SECRET}, ["MENS-D181"]),
        ({"prompt": "p", "response": "r", "tools": 3}, ["MENS-D031"]),
        ({"prompt": "p", "response": "r", "tools": [SECRET]}, ["MENS-D031"]),
        ({"prompt": "p", "response": "r", "tools": [{"type": SECRET}]}, ["MENS-D032"]),
        (
            {"prompt": "p", "response": "r", "tools": [TOOL], "functions": [{"name": SECRET}]},
            ["MENS-D180"],
        ),
    ],
)
def test_what_is_wrong_with_tools_is_named_and_never_quoted(
    row: dict[str, object], expected: list[str]
) -> None:
    assert codes(row) == expected
