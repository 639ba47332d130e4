from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from vox_populi.corpus.tool_trace import RecordFormat, row_of_record
from vox_populi.data.chat_template import ModelTemplate
from vox_populi.data.row_formats import parse_row
from vox_populi.data.template_messages import templated_record
from vox_populi.errors import DataError
from vox_tensor.records import Role, ToolCall, TrainingRecord

TRACE: dict[str, Any] = {
    "task_prompt": "List the files.",
    "tool_name": "shell",
    "arguments_json": '{"command": "ls", "depth": 2}',
    "result_json": '["a.txt"]',
    "success": True,
}


def parsed(**changes: object) -> TrainingRecord:
    row = row_of_record({**TRACE, **changes}, RecordFormat.TOOL_TRACE, "f:7")
    return parse_row(row, 7, "f")


def test_a_session_is_text_and_beside_it_a_real_call() -> None:
    record = parsed(rating=4)
    assert [message.role for message in record.messages] == [Role.USER, Role.ASSISTANT]
    assert (record.tools, record.messages[1].tool_calls) == ((), ())
    called = record.with_calls
    assert called is not None
    assert (called.line, called.rating, called.category) == (7, 4, "tool_trace")
    (asked, call) = called.messages
    assert (asked.role, asked.content) == (Role.USER, "List the files.")
    expected = ToolCall("shell", {"command": "ls", "depth": 2}, call.tool_calls[0].id)
    assert (call.content, call.learn, call.tool_calls) == ("", True, (expected,))
    properties = {"command": {"type": "string"}, "depth": {"type": "integer"}}
    parameters = {"type": "object", "properties": properties}
    function = {"name": "shell", "description": "", "parameters": parameters}
    assert called.tools == ({"type": "function", "function": function},)


def test_a_followup_comes_after_what_the_tool_said() -> None:
    called = parsed(followup_text="There is one.").with_calls
    assert called is not None
    (_, call, told, text) = called.messages
    assert (told.role, told.content, told.name) == (Role.TOOL, '["a.txt"]', "shell")
    assert told.tool_call_id == call.tool_calls[0].id
    assert (text.role, text.content) == (Role.ASSISTANT, "There is one.")
    failed = parsed(followup_text="It failed.", success=False, result_json="no").with_calls
    assert failed is not None
    assert failed.messages[2].content == '{"success": false, "result": "no"}'


def test_definitions_of_the_record_are_used() -> None:
    tools = [{"name": "shell", "description": "Runs a command.", "parameters": {}}]
    called = parsed(tools=tools).with_calls
    assert called is not None
    assert called.tools == ({"type": "function", "function": tools[0]},)
    with pytest.raises(DataError, match="MENS-D031"):
        parsed(tools=3)


@pytest.mark.parametrize("arguments", ["ls", "[1]", "", "null"])
def test_arguments_that_are_not_an_object_leave_the_text(arguments: str) -> None:
    assert parsed(arguments_json=arguments).with_calls is None


@pytest.mark.parametrize("other", [None, 3, "x", [], {}, {"task_prompt": 3}, {"tool_name": "a"}])
def test_another_key_of_that_name_stops_no_row(other: object) -> None:
    record = parse_row({"prompt": "p", "response": "r", "tool_trace": other}, 1, "f")
    assert record.with_calls is None


def test_the_template_decides_which_form_is_used() -> None:
    pytest.importorskip("jinja2", reason="needs vox-populi[mens-gpu]")
    now = datetime(2026, 3, 9, tzinfo=UTC)
    plain = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    calls = "{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}"
    tools = "{{ tools | tojson }}" + plain.replace("{% endfor %}", calls + "{% endfor %}")
    record = parsed()
    assert templated_record(record, ModelTemplate(text=plain, now=now)) is record
    assert templated_record(record, ModelTemplate(text=tools, now=now)) is record.with_calls
