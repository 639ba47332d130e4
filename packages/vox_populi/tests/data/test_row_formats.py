from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vox_populi.data.row_formats import (
    CONVERSATION_KEYS,
    RowShape,
    learns_something,
    parse_row,
    row_shape,
)
from vox_populi.data.row_pairs import ANSWER_KEYS, PROMPT_KEYS
from vox_populi.errors import DataError
from vox_tensor.records import Message, Role

SECRET = "hunter2"
SYSTEM, USER, ASSISTANT, TOOL = Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.TOOL


def messages(row: Mapping[str, object]) -> list[tuple[Role, str]]:
    return [(m.role, m.content) for m in parse_row(row, 1, "f").messages]


def codes(row: Mapping[str, object]) -> list[str]:
    with pytest.raises(DataError) as caught:
        parse_row(row, 7, "train.jsonl")
    assert all(p.where == "train.jsonl:7" for p in caught.value.problems)
    assert SECRET not in str(caught.value)
    return [p.code for p in caught.value.problems]


def turns(*said: object) -> dict[str, object]:
    return {"messages": list(said)}


def said(role: str, content: object, **extra: object) -> dict[str, object]:
    return {"role": role, "content": content, **extra}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "p", "response": "r"},
        {"instruction": "p", "output": "r"},
        {"prompt": "p", "completion": "r"},
        {"question": "p", "answer": "r"},
        {"query": "p", "response": "r"},
        {"input": "p", "output": "r"},
        {"prompt": "p", "instruction": "p", "response": "r", "output": "r"},
        {"prompt": "  ", "instruction": "p", "response": None, "output": "r"},
        {"messages": [said("user", "p"), said("assistant", "r")]},
        {"turns": [said("human", "p"), said("model", "r")]},
        {"conversations": [{"from": "human", "value": "p"}, {"from": "gpt", "value": "r"}]},
        {"conversation": [said("user", "p"), said("assistant", "r")]},
        {"messages": '[{"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}]'},
        {"prompt": [said("user", "p")], "completion": [said("assistant", "r")]},
        {"prompt": [said("user", "p")], "completion": "r"},
        {"prompt": "p", "response": [said("assistant", "r")]},
        {"messages": [], "prompt": "p", "response": "r"},
        {"messages": [said("user", "p"), said("assistant", "r")], "prompt": "x", "response": "y"},
        {"prompt": "p", "response": "r", "unknown": {"a": [1]}, "difficulty": 3},
    ],
)
def test_every_format_gives_the_same_messages(row: dict[str, object]) -> None:
    assert messages(row) == [(USER, "p"), (ASSISTANT, "r")]


def test_instruction_and_input_are_joined_by_a_newline() -> None:
    row: dict[str, object] = {"instruction": "Translate.", "input": "Hallo", "output": "Hello"}
    assert messages(row)[0] == (USER, "Translate.\nHallo")
    row["input"] = ""
    assert messages(row)[0] == (USER, "Translate.")


def test_prompt_beside_instruction_is_the_finished_text() -> None:
    row = {"prompt": "Translate.\nHallo", "instruction": "Translate.", "input": "Hallo"}
    assert messages({**row, "output": "Hello"})[0] == (USER, "Translate.\nHallo")


def test_alpaca_system_and_history_come_before_the_prompt() -> None:
    row = {"instruction": "c", "output": "d", "system": "s", "history": [["a", "b"]]}
    assert messages(row) == [
        (SYSTEM, "s"),
        (USER, "a"),
        (ASSISTANT, "b"),
        (USER, "c"),
        (ASSISTANT, "d"),
    ]


def test_sharegpt_system_field_opens_the_conversation() -> None:
    talk = [{"from": "human", "value": "p"}, {"from": "gpt", "value": "r"}]
    assert messages({"conversations": talk, "system": "s"})[0] == (SYSTEM, "s")
    inside = [{"from": "system", "value": "s"}, *talk]
    assert messages({"conversations": inside, "system": "s"}) == messages({"conversations": inside})
    assert codes({"conversations": inside, "system": SECRET}) == ["MENS-D035"]


def test_role_aliases() -> None:
    row = turns(
        said("developer", "s"), said("User", "u"), said("observation", "o"), said("gpt", "a")
    )
    assert [role for role, _ in messages(row)] == [SYSTEM, USER, TOOL, ASSISTANT]
    record = parse_row(row, 1, "f")
    assert [m.is_developer for m in record.messages] == [True, False, False, False]


def test_typed_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "output_text", "text": "b"}, "c"]
    assert messages(turns(said("user", parts), said("assistant", "r")))[0] == (USER, "abc")


def test_a_part_that_is_no_text_is_named() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": SECRET}]
    with pytest.raises(DataError, match=r"messages\[0\].content\[1\] is a part of type image_url"):
        parse_row(turns(said("user", parts), said("assistant", "r")), 1, "f")


@pytest.mark.parametrize(
    ("off", "on"),
    [
        ({"weight": 0}, {"weight": 1}),
        ({"train": False}, {"train": True}),
        ({"loss": False}, {"loss": True}),
        ({"learn": 0}, {"learn": 1}),
        ({"weight": 0, "loss": False}, {"weight": 1, "train": True}),
    ],
)
def test_a_message_says_under_any_name_whether_it_is_learned(
    off: dict[str, object], on: dict[str, object]
) -> None:
    row = turns(
        said("user", "u", **off),
        said("assistant", "a", **off),
        said("assistant", "b", **on),
        said("assistant", "c", **dict.fromkeys(on)),
    )
    record = parse_row(row, 1, "f")
    assert [m.learn for m in record.messages if m.role is ASSISTANT] == [False, True, True]
    assert learns_something(record)


def test_context_belongs_to_the_prompt() -> None:
    row = {"instruction": "Who?", "context": "Ada wrote it.", "response": "Ada"}
    assert messages(row)[0] == (USER, "Who?\nAda wrote it.")
    assert messages({**row, "context": ""})[0] == (USER, "Who?")
    asked = {"question": "Who?", "context": "Ada wrote it.", "answer": "Ada"}
    assert messages(asked) == messages(row)
    same = {"instruction": "Who?", "input": "Ada.", "context": "Ada.", "output": "Ada"}
    assert messages(same)[0] == (USER, "Who?\nAda.")


def test_context_beside_a_finished_prompt_is_added_only_if_it_is_new_text() -> None:
    row = {"prompt": "Ada wrote it. Who?", "response": "Ada"}
    assert messages({**row, "context": "Ada wrote it."}) == messages(row)
    assert messages({**row, "context": {"page": 3}}) == messages(row)
    assert messages({**row, "context": "In 1843."})[0] == (USER, "Ada wrote it. Who?\nIn 1843.")


def test_a_prompt_of_messages_is_never_learned() -> None:
    row = {
        "prompt": [said("system", "s"), said("user", "a"), said("assistant", "b")],
        "completion": [said("assistant", "c"), said("assistant", "d", loss=False)],
    }
    record = parse_row(row, 1, "f")
    assert [(m.content, m.learn) for m in record.messages if m.role is ASSISTANT] == [
        ("b", False),
        ("c", True),
        ("d", False),
    ]


def test_a_text_alone_is_one_message_and_a_text_beside_a_pair_is_ignored() -> None:
    record = parse_row({"text": " whole\n", "meta": [1]}, 1, "f")
    assert record.messages == (Message(ASSISTANT, " whole\n"),)
    assert record.is_text
    assert learns_something(record)
    pair = parse_row({"text": "p r", "instruction": "p", "output": "r"}, 1, "f")
    assert (len(pair.messages), pair.is_text) == (2, False)


def test_other_fields_of_any_type_stop_no_row() -> None:
    row: dict[str, object] = {"prompt": "p", "response": "r"}
    for value in (None, True, 4.5, "5", [], ["a"], {"a": {"b": 1}}, [{"a": 1}]):
        extra = dict.fromkeys(
            ("source", "category", "lane", "rating", "id", "metadata", "text", "reasoning"), value
        )
        assert messages({**extra, **row}) == messages(row)


def test_all_weights_zero_learns_nothing() -> None:
    record = parse_row(turns(said("user", "u"), said("assistant", "a", weight=0)), 1, "f")
    assert not learns_something(record)
    assert record.messages[1] == Message(ASSISTANT, "a", learn=False)


def test_labels_of_a_row_are_kept() -> None:
    row = {"prompt": "p", "response": "r", "rating": 4, "category": "c", "lane": "l", "source": "s"}
    record = parse_row(row, 12, "f")
    assert (record.line, record.rating, record.category) == (12, 4, "c")
    assert (record.lane, record.source) == ("l", "s")
    bare = parse_row({"prompt": "p", "response": "r", "rating": None}, 1, "f")
    assert (bare.rating, bare.category, bare.lane, bare.source) == (None, None, None, None)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({}, ["MENS-D030"]),
        ({"text": " "}, ["MENS-D032"]),
        ({"text": 3}, ["MENS-D031"]),
        ({"prompt": SECRET, "text": "whole"}, ["MENS-D032"]),
        ({"chosen": SECRET, "rejected": SECRET}, ["MENS-D030"]),
        ({"prompt": SECRET}, ["MENS-D032"]),
        ({"response": SECRET}, ["MENS-D032"]),
        ({"prompt": "", "response": "\n"}, ["MENS-D032", "MENS-D032"]),
        ({"prompt": 3, "response": SECRET}, ["MENS-D031"]),
        ({"prompt": SECRET, "response": ["r"]}, ["MENS-D031"]),
        ({"prompt": SECRET, "response": "r", "output": 5}, ["MENS-D031"]),
        ({"prompt": SECRET, "response": "r", "history": SECRET}, ["MENS-D031"]),
        ({"prompt": SECRET, "response": "r", "history": [[SECRET]]}, ["MENS-D031"]),
        ({"prompt": "a", "instruction": SECRET, "response": "r"}, ["MENS-D180"]),
        ({"question": "a", "query": SECRET, "response": "r"}, ["MENS-D180"]),
        ({"prompt": "p", "response": "r", "output": SECRET}, ["MENS-D180"]),
        ({"question": "p", "answer": "r", "completion": SECRET}, ["MENS-D180"]),
        ({"instruction": "p", "input": "a", "context": SECRET, "output": "r"}, ["MENS-D180"]),
        ({"instruction": "p", "context": [SECRET], "output": "r"}, ["MENS-D031"]),
        ({"prompt": "p", "system": "a", "system_prompt": SECRET, "response": "r"}, ["MENS-D180"]),
        ({"prompt": [said("user", "p")], "input": SECRET, "completion": "r"}, ["MENS-D031"]),
        ({"prompt": [said("user", SECRET)], "completion": [said("user", "u")]}, ["MENS-D041"]),
        ({"prompt": [SECRET], "completion": "r"}, ["MENS-D031"]),
        ({"messages": []}, ["MENS-D041"]),
        ({"messages": SECRET}, ["MENS-D031"]),
        ({"messages": {"role": "user"}}, ["MENS-D031"]),
        ({"messages": [SECRET]}, ["MENS-D031"]),
        (turns(said("user", SECRET)), ["MENS-D041"]),
        (turns(said(SECRET, "x"), said("assistant", "r")), ["MENS-D033"]),
        (turns(said("user", None), said("assistant", SECRET)), ["MENS-D031"]),
        (turns({"content": SECRET}, said("assistant", "r")), ["MENS-D031"]),
        (turns(said("user", SECRET), said("assistant", " ")), ["MENS-D032"]),
        (
            turns(said("user", [{"type": "image_url", "text": SECRET}]), said("assistant", "r")),
            ["MENS-D036"],
        ),
        (turns(said("user", "u"), said("assistant", None)), ["MENS-D031"]),
        (turns(said("user", "u", train=True), said("assistant", "r")), ["MENS-D039"]),
        (turns(said("user", "u"), said("assistant", SECRET, loss=0.5)), ["MENS-D038"]),
        (turns(said("user", "u"), said("assistant", SECRET, learn="no")), ["MENS-D038"]),
        (turns(said("user", "u"), said("assistant", "r", weight=1, loss=False)), ["MENS-D180"]),
        (turns(said("user", "u"), said("assistant", SECRET, weight=0.5)), ["MENS-D038"]),
        (turns(said("user", "u"), said("assistant", SECRET, weight=True)), ["MENS-D038"]),
        (turns(said("user", "u"), said("assistant", SECRET, weight=[1])), ["MENS-D038"]),
        (turns(said("user", SECRET, weight=1), said("assistant", "r")), ["MENS-D039"]),
        (
            {"messages": [said("assistant", "a")], "turns": [said("assistant", SECRET)]},
            ["MENS-D034"],
        ),
    ],
)
def test_bad_rows_are_named_with_file_and_line_and_never_quoted(
    row: dict[str, object], expected: list[str]
) -> None:
    assert codes(row) == expected


def test_one_row_reports_everything_that_is_wrong_with_it() -> None:
    row = turns(said("oracle", "x"), said("user", 3), said("assistant", "r", weight=2))
    assert codes({**row, "rating": 7}) == ["MENS-D033", "MENS-D031", "MENS-D038"]


def test_the_same_conversation_twice_is_not_a_conflict() -> None:
    talk = [said("user", "p"), said("assistant", "r")]
    assert messages({"messages": talk, "turns": talk}) == [(USER, "p"), (ASSISTANT, "r")]


def test_row_shape() -> None:
    assert row_shape({"text": "a", "prompt": None}) is RowShape.TEXT
    assert row_shape({"text": "a", "instruction": "b", "output": "c"}) is RowShape.PROMPT_RESPONSE
    assert row_shape({"turns": [1]}) is RowShape.TURNS
    assert row_shape({"messages": [], "output": ""}) is RowShape.PROMPT_RESPONSE
    assert row_shape({"conversations": []}) is RowShape.CONVERSATIONS
    assert row_shape({"text": ""}) is RowShape.TEXT
    assert row_shape({"chosen": "a"}) is None


KEYS = ("messages", "turns", "conversations", "prompt", "instruction", "input", "response")
MORE_KEYS = ("output", "system", "history", "rating", "category", "tools", "functions", "context")
LAST_KEYS = ("text", "question", "answer", "answers", "conversation", "weight", "thinking")
TURN_KEYS = (
    *("role", "from", "content", "value", "weight", "tool_calls", "function_call", "function"),
    *("name", "arguments", "id", "type", "text", "train", "loss", "reasoning_content", "thinking"),
)
WORDS = ("user", "gpt", "assistant", "tool", "function_call", "text", "{}", "[]", '{"name": "f"}')
ANY_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(TURN_KEYS), inner | st.sampled_from(WORDS))
    ),
    max_leaves=12,
)


@pytest.mark.any_install
@given(st.dictionaries(st.sampled_from((*KEYS, *MORE_KEYS, *LAST_KEYS)), ANY_VALUE))
def test_any_object_is_a_row_or_a_problem(row: dict[str, object]) -> None:
    try:
        record = parse_row(row, 3, "f")
    except DataError as error:
        places = {problem.where for problem in error.problems}
        learners = True
    else:
        places = {"f:3"}
        learners = any(message.role is ASSISTANT for message in record.messages)
    assert places == {"f:3"}
    assert learners


def test_an_unknown_row_is_told_every_key_that_is_read() -> None:
    with pytest.raises(DataError) as caught:
        parse_row({"chosen": "a"}, 1, "rows.jsonl")
    (problem,) = caught.value.problems
    assert problem.code == "MENS-D030"
    keys = (*CONVERSATION_KEYS, *PROMPT_KEYS, *ANSWER_KEYS)
    assert [key for key in keys if f'"{key}"' not in problem.fix] == []


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "p", "response": "r"},
        {"messages": [said("user", "p"), said("assistant", "r", weight=1)]},
        {"conversations": [{"from": "human", "value": "p"}, {"from": "gpt", "value": "r"}]},
    ],
)
def test_a_row_of_any_layout_has_a_weight(row: dict[str, object]) -> None:
    assert parse_row(row, 1, "f").weight == 1.0
    assert parse_row({**row, "weight": None}, 1, "f").weight == 1.0
    for weight in (0.001, 0.5, 2, 1000):
        assert parse_row({**row, "weight": weight}, 1, "f").weight == weight


@pytest.mark.parametrize(
    "weight", [0, -1, 0.0009, 1000.5, 10**30, True, "2", SECRET, [1], {"a": 1}]
)
def test_a_weight_that_is_not_a_usable_number_is_one_problem(weight: object) -> None:
    row = {"prompt": "p", "response": "r", "weight": weight}
    assert codes(row) == ["MENS-D031"]
    with pytest.raises(DataError) as caught:
        parse_row(row, 7, "train.jsonl")
    (problem,) = caught.value.problems
    assert problem.what.startswith("weight is a")
    assert "from 0.001 to 1000" in problem.fix
