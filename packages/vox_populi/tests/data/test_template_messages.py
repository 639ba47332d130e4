from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from vox_populi.data.chat_template import ModelTemplate, joined_templates
from vox_populi.data.template_messages import template_turns, template_use
from vox_populi.errors import DataError
from vox_tensor.records import Message, MessageExtras, Role, ToolCall

pytest.importorskip("jinja2", reason="needs vox-populi[mens-gpu]")

TOOLS = ({"type": "function", "function": {"name": "weather", "parameters": {}}},)
USER = Message(Role.USER, "u")
DONE = Message(Role.ASSISTANT, "done")

# What the templates of the families do with the parts of a message that few messages have.
CALLS = (
    "{% for c in m.tool_calls or [] %}<call>{{ c.function.name }}:"
    "{{ c.function.arguments | tojson }}</call>{% endfor %}"
)
TURN = "<{{ m.role }}>{{ m.content }}"
AS_OBJECT = "{{ tools | tojson }}{% for m in messages %}" + TURN + CALLS + "</s>{% endfor %}"
AS_TEXT = AS_OBJECT.replace(
    "{{ c.function.arguments | tojson }}", "{{ ' ' + c.function.arguments }}"
)
NEEDS_TEXT = AS_OBJECT.replace("{{ m.content }}", "{{ '' + m.content }}")
ONE_OF_BOTH = AS_OBJECT.replace(
    TURN, "<{{ m.role }}>{% if not m.tool_calls %}{{ m.content }}{% endif %}"
)
SHORT_IDS = (
    "{% for m in messages %}{% for c in m.tool_calls or [] %}"
    "{% if c.id is not defined or c.id | length != 9 %}{{ raise_exception('nine') }}{% endif %}"
    "[{{ c.id }}]{% endfor %}{% if m.role == 'tool' %}"
    "{% if m.tool_call_id is not defined or m.tool_call_id | length != 9 %}"
    "{{ raise_exception('nine') }}{% endif %}({{ m.tool_call_id }}){% endif %}{% endfor %}"
    + AS_OBJECT
)
PYTHON = AS_OBJECT.replace("c.function.arguments | tojson", "c.function.arguments")
SILENT = (
    "{% for m in messages %}{% if m.role in ('system', 'user', 'assistant') %}"
    + TURN
    + "</s>{% endif %}{% endfor %}"
)
STRICT = SILENT.replace("{% endfor %}", "") + (
    "{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}{% endfor %}"
)
THINKS = SILENT.replace(
    "{{ m.content }}", "<think>{{ m.reasoning_content }}</think>{{ m.content }}"
)
THINKS_NEW = THINKS.replace("reasoning_content", "reasoning")
HARMONY = THINKS.replace("reasoning_content", "thinking").replace("'system'", "'developer'")


def template(text: str) -> ModelTemplate:
    return ModelTemplate(text=text, now=datetime(2026, 3, 9, tzinfo=UTC))


def turns(text: str, *messages: Message, tools: Sequence[Any] = ()) -> list[Any]:
    return list(template_turns(messages, tools, template(text), "f:7"))


def caller(content: str = "", *calls: ToolCall) -> Message:
    calls = calls or (ToolCall("weather", {"city": "Łódź"}, "call_1"),)
    return Message(Role.ASSISTANT, content, True, MessageExtras(tool_calls=calls))


def answer(call_id: str | None = "call_1") -> Message:
    return Message(Role.TOOL, "rain", True, MessageExtras(tool_call_id=call_id, name="weather"))


def thought() -> Message:
    return Message(Role.ASSISTANT, "done", True, MessageExtras(reasoning="why"))


def codes(text: str, *messages: Message, tools: Sequence[Any] = ()) -> list[str]:
    with pytest.raises(DataError) as caught:
        turns(text, *messages, tools=tools)
    assert {problem.where for problem in caught.value.problems} == {"f:7"}
    return [problem.code for problem in caught.value.problems]


def test_ordinary_messages_are_role_and_content() -> None:
    assert turns(SILENT, Message(Role.SYSTEM, "s"), USER, DONE) == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": "done"},
    ]


def test_a_call_is_handed_over_as_openai_writes_it() -> None:
    (_, called, told, _) = turns(AS_OBJECT, USER, caller(), answer(), DONE, tools=TOOLS)
    function = {"name": "weather", "arguments": {"city": "Łódź"}}
    call = {"id": "call_1", "type": "function", "function": function}
    assert called == {"role": "assistant", "content": None, "tool_calls": [call]}
    assert told == {
        "role": "tool",
        "content": "rain",
        "name": "weather",
        "tool_call_id": "call_1",
    }
    (_, bare) = turns(AS_OBJECT, USER, caller("", ToolCall("weather", {})))
    assert "id" not in bare["tool_calls"][0]


@pytest.mark.parametrize(
    ("text", "arguments", "content"),
    [
        (AS_OBJECT, {"city": "Łódź"}, None),
        (AS_TEXT, '{"city": "Łódź"}', None),
        (PYTHON, '{"city": "Łódź"}', None),
        (NEEDS_TEXT, {"city": "Łódź"}, ""),
    ],
)
def test_the_form_of_a_call_is_the_one_that_the_template_takes(
    text: str, arguments: object, content: str | None
) -> None:
    (_, called) = turns(text, USER, caller())
    assert called["tool_calls"][0]["function"]["arguments"] == arguments
    assert called["content"] == content
    (_, called) = turns(text, USER, caller("Let me see."))
    assert called["content"] == "Let me see."


def test_ids_become_nine_letters_only_where_the_template_wants_that() -> None:
    calls = (
        ToolCall("a", {}, "call_0123456789abcdef"),
        ToolCall("a", {}, "Nine99999"),
        ToolCall("a", {}),
        ToolCall("a", {}),
    )
    answers = [answer(calls[0].id), answer("Nine99999"), answer(None), answer(None)]
    (_, called, *told) = turns(SHORT_IDS, USER, caller("", *calls), *answers)
    ids = [call["id"] for call in called["tool_calls"]]
    assert ids[1] == "Nine99999"
    assert len(set(ids)) == 4
    assert all(len(each) == 9 and each.isalnum() for each in ids)
    assert [each["tool_call_id"] for each in told] == ids
    assert turns(SHORT_IDS, USER, caller("", *calls), *answers)[1] == called
    (_, kept) = turns(AS_OBJECT, USER, caller("", *calls))
    assert [call.get("id") for call in kept["tool_calls"]] == [call.id for call in calls]


@pytest.mark.parametrize("text", [SILENT, STRICT])
def test_calls_that_the_template_does_not_write_are_refused(text: str) -> None:
    assert codes(text, USER, caller())[0] == "MENS-D184"


def test_definitions_and_answers_that_the_template_drops_are_refused() -> None:
    assert codes(SILENT, USER, DONE, tools=TOOLS) == ["MENS-D184"]
    assert codes(SILENT, USER, DONE, Message(Role.TOOL, "rain"), DONE) == ["MENS-D184"]
    assert len(turns(AS_OBJECT, USER, DONE, Message(Role.TOOL, "rain"), DONE, tools=TOOLS)) == 4
    # The template's own words are better than ours.
    assert len(turns(STRICT, USER, DONE, Message(Role.TOOL, "rain"), DONE)) == 4


def test_text_that_the_template_drops_beside_calls_is_refused() -> None:
    assert codes(ONE_OF_BOTH, USER, caller("Let me see.")) == ["MENS-D186"]
    assert len(turns(ONE_OF_BOTH, USER, caller())) == 2
    assert len(turns(AS_OBJECT, USER, caller("Let me see."))) == 2


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (THINKS, {"reasoning_content", "thinking"}),
        (HARMONY, {"reasoning_content", "thinking"}),
        (THINKS_NEW, {"reasoning_content", "thinking", "reasoning"}),
    ],
)
def test_reasoning_has_the_names_that_the_template_reads(text: str, keys: set[str]) -> None:
    (_, made) = turns(text, USER, thought())
    assert made == {"role": "assistant", "content": "done", **dict.fromkeys(keys, "why")}


def test_reasoning_that_the_template_drops_is_refused() -> None:
    assert codes(SILENT, USER, thought()) == ["MENS-D185"]


def test_everything_that_is_dropped_is_named_at_once() -> None:
    found = codes(SILENT, USER, caller(), answer(), thought(), tools=TOOLS)
    assert found == ["MENS-D184", "MENS-D184", "MENS-D185"]


def test_a_developer_is_one_where_the_template_knows_them() -> None:
    message = Message(Role.SYSTEM, "s", True, MessageExtras(is_developer=True))
    assert turns(HARMONY, message, USER)[0]["role"] == "developer"
    assert turns(SILENT, message, USER)[0]["role"] == "system"


def test_what_a_template_writes_is_found_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = template(AS_OBJECT + "{# once #}")
    use = template_use(first, has_tools=True)

    def fail(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(ModelTemplate, "render", fail)
    assert template_use(template(first.text), has_tools=True) is use
    with pytest.raises(AssertionError):
        template_use(template(first.text + "{# other #}"), has_tools=True)


def test_a_second_template_for_tools_decides_only_where_there_are_tools() -> None:
    both = joined_templates(SILENT, AS_OBJECT.replace("{{ m.content }}", "{{ m.thinking }}"))
    assert turns(both, USER, thought(), tools=TOOLS)[1]["thinking"] == "why"
    assert codes(both, USER, thought()) == ["MENS-D185"]
    assert codes(both, USER, caller()) == ["MENS-D184"]
    assert turns(both, USER, caller(), tools=TOOLS)[1]["tool_calls"]


@pytest.mark.parametrize("end", ["", "\n", "\n\n", " "])
def test_two_templates_as_one_write_what_each_writes(end: str) -> None:
    first, second = "\n  {{ messages[0].content }} A" + end, "{{ tools | length }} B" + end
    both = template(joined_templates(first, second))
    turn = [{"role": "user", "content": "u"}]
    assert both.render(turn).text == template(first).render(turn).text
    tools = [{"name": "t"}]
    assert both.render(turn, tools=tools).text == template(second).render(turn, tools=tools).text
