"""A recorded tool session as a conversation with a real call, for templates that have tools.

A mix writes such a session as a prompt and an answer in text, which any layout can use, and keeps
the session itself under `tool_trace`. Where the model's own template has tools, the session is
what is learned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from vox_populi.data.row_fields import RowFields
from vox_populi.data.row_tools import row_tools
from vox_tensor.records import Message, MessageExtras, Role, ToolCall

TRACE_KEY = "tool_trace"
"""Key of a row under which a mix keeps the session."""
_CALL_ID = "call00001"
_TEXTS = ("task_prompt", "tool_name", "result_json")


@dataclass(frozen=True, slots=True)
class TraceCalls:
    """A session as messages, with the definition of its tool."""

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, object], ...]


def trace_calls(row: RowFields) -> TraceCalls | None:
    """The session of a row; `None` if it has none, or one whose arguments are not an object.

    A key of that name with other content is nobody's session and ignored.
    """
    trace = row.value.get(TRACE_KEY)
    if not isinstance(trace, dict):
        return None
    task, name, result = map(trace.get, _TEXTS)
    arguments = trace.get("arguments")
    if not isinstance(task, str) or not isinstance(name, str) or not isinstance(result, str):
        return None
    if not isinstance(arguments, dict) or not task.strip() or not name.strip():
        return None
    inner = RowFields(trace, f"{row.place}")
    tools = row_tools(inner) or (_definition(name, arguments),)
    row.problems += inner.problems
    call = MessageExtras(tool_calls=(ToolCall(name, arguments, _CALL_ID),))
    messages = [Message(Role.USER, task), Message(Role.ASSISTANT, "", True, call)]
    followup = trace.get("followup_text")
    if isinstance(followup, str) and followup.strip():
        # Without an answer to it, there is nothing to learn from what the tool said.
        told = MessageExtras(tool_call_id=_CALL_ID, name=name)
        said = result if trace.get("success") is True else _failure(result)
        messages.append(Message(Role.TOOL, said, True, told))
        messages.append(Message(Role.ASSISTANT, followup))
    return TraceCalls(tuple(messages), tools)


def _failure(result: str) -> str:
    return json.dumps({"success": False, "result": result}, ensure_ascii=False)


def _definition(name: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
    """What the session says about its tool: name, and types of the arguments."""
    properties = {key: {"type": _schema_type(value)} for key, value in arguments.items()}
    parameters = {"type": "object", "properties": properties}
    function = {"name": name, "description": "", "parameters": parameters}
    return {"type": "function", "function": function}


def _schema_type(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "integer", float: "number", list: "array"}
    return names.get(type(value), "object")
