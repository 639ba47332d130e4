"""A row in one layout for a row in another, with everything that it says and all its metadata.

What a layout has no key for is kept under a documented one that our reader understands, and what
cannot be kept at all is a problem of the row: nothing is dropped silently. Every row that is
made is read again and must say the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import StrEnum

from vox_populi.corpus.row_rest import RowRest, rest_of
from vox_populi.data.row_formats import CONVERSATION_KEYS, RowShape, parse_row
from vox_populi.data.row_pairs import ANSWER_KEYS, CALLS_KEY, PROMPT_KEYS, SYSTEM_KEYS
from vox_populi.data.row_tools import TOOLS_KEYS
from vox_populi.errors import DataError
from vox_populi.operator_messages import corpus_files as say
from vox_tensor.records import Message, Role, ToolCall, TrainingRecord

Row = dict[str, object]


class RowTarget(StrEnum):
    """The layouts that rows are converted to."""

    MESSAGES = "messages"
    SHAREGPT = "sharegpt"
    ALPACA = "alpaca"
    PARQUET = "parquet"


_CONVERSATION_FIELDS = frozenset((*CONVERSATION_KEYS, *SYSTEM_KEYS, *TOOLS_KEYS))
"""Keys that a conversation is read from."""
_ALPACA_KEYS = frozenset(
    (
        *(*PROMPT_KEYS, *ANSWER_KEYS, *SYSTEM_KEYS, *TOOLS_KEYS, *CONVERSATION_KEYS, CALLS_KEY),
        *("input", "context", "history", "reasoning_content", "thinking"),
    )
)
"""Keys that a prompt and an answer are read from."""
_SHAREGPT_ROLES = {
    Role.SYSTEM: "system",
    Role.USER: "human",
    Role.ASSISTANT: "gpt",
    Role.TOOL: "observation",
}


class _CannotHoldError(Exception):
    """What a layout cannot hold, for a message."""


def converted_row(value: Mapping[str, object], record: TrainingRecord, target: RowTarget) -> Row:
    """The row in a layout.

    Args:
        value: The row as written.
        record: What it says.
        target: The layout; rows of a Parquet file are `messages`.

    Raises:
        DataError: With what the layout cannot hold; its place is empty.
    """
    try:
        row = _LAYOUTS[target](record, rest_of(value, record))
        if not _says_the_same(row, record):
            reason = "this row without a change to what is learned"
            raise _CannotHoldError(reason)
    except _CannotHoldError as error:
        raise DataError(say.layout_cannot_hold(target, str(error))) from None
    return row


def _says_the_same(row: Row, record: TrainingRecord) -> bool:
    try:
        again = parse_row(row, record.line, "")
    except DataError:
        return False
    return _meaning(again) == _meaning(record)


def _meaning(record: TrainingRecord) -> tuple[object, ...]:
    """Everything that training or a filter may use."""
    messages = [
        (each.role, each.content, each.learn or each.role is not Role.ASSISTANT, each.extras)
        for each in record.messages
    ]
    labels = (record.rating, record.category, record.lane, record.source, record.weight)
    return messages, record.tools, record.is_text, labels


def _messages_row(record: TrainingRecord, rest: RowRest) -> Row:
    if record.is_text:
        return {RowShape.TEXT.value: record.messages[0].content, **rest.metadata}
    turns = [_openai_turn(each) for each in record.messages]
    return {
        "messages": _with_rest(turns, rest),
        **({"tools": list(record.tools)} if record.tools else {}),
        **rest.beside(_CONVERSATION_FIELDS),
    }


def _sharegpt_row(record: TrainingRecord, rest: RowRest) -> Row:
    if record.is_text:
        reason = "a text without turns"
        raise _CannotHoldError(reason)
    turns = [_sharegpt_turn(each) for each in record.messages]
    tools = json.dumps(list(record.tools), ensure_ascii=False)
    return {
        "conversations": _with_rest(turns, rest),
        **({"tools": tools} if record.tools else {}),
        **rest.beside(_CONVERSATION_FIELDS),
    }


def _alpaca_row(record: TrainingRecord, rest: RowRest) -> Row:
    if record.is_text or record.tools:
        reason = "a text without turns" if record.is_text else "tools"
        raise _CannotHoldError(reason)
    messages = list(record.messages)
    system = messages.pop(0) if messages[0].role is Role.SYSTEM else None
    roles = [message.role for message in messages]
    if roles != [Role.USER, Role.ASSISTANT] * (len(roles) // 2) or not roles:
        reason = "turns that do not alternate between one user and the assistant"
        raise _CannotHoldError(reason)
    answers = messages[1::2]
    plain = [*messages[:-1], *([] if system is None else [system])]
    if any(each.extras is not None for each in plain) or answers[-1].tool_calls:
        reason = "tool calls, names, developer messages or earlier reasoning"
        raise _CannotHoldError(reason)
    if not all(answer.learn for answer in answers):
        reason = "answers that are not learned"
        raise _CannotHoldError(reason)
    history = [
        [asked.content, answered.content]
        for asked, answered in zip(messages[:-2:2], answers[:-1], strict=True)
    ]
    reasoning = answers[-1].reasoning
    return {
        "instruction": messages[-2].content,
        "input": "",
        "output": answers[-1].content,
        **({"system": system.content} if system is not None else {}),
        **({"history": history} if history else {}),
        **({"reasoning_content": reasoning} if reasoning is not None else {}),
        **rest.beside(_ALPACA_KEYS, keeps_turns=True),
    }


_LAYOUTS: Mapping[RowTarget, Callable[[TrainingRecord, RowRest], Row]] = {
    RowTarget.MESSAGES: _messages_row,
    RowTarget.SHAREGPT: _sharegpt_row,
    RowTarget.ALPACA: _alpaca_row,
    RowTarget.PARQUET: _messages_row,
}


def _with_rest(turns: list[Row], rest: RowRest) -> list[Row]:
    """Turns with the keys that only their originals have."""
    if not rest.turns:
        return turns
    # A system message that was made from a field of the row has no original.
    added = len(turns) - len(rest.turns)
    originals = [*({} for _ in range(added)), *rest.turns]
    return [{**original, **turn} for original, turn in zip(originals, turns, strict=True)]


def _openai_turn(message: Message) -> Row:
    role = "developer" if message.is_developer else message.role.value
    is_call = bool(message.tool_calls) and not message.content
    calls = [_openai_call(call) for call in message.tool_calls]
    return {
        "role": role,
        "content": None if is_call else message.content,
        **({"tool_calls": calls} if calls else {}),
        **_extra_keys(message),
    }


def _openai_call(call: ToolCall) -> Row:
    function = {"name": call.name, "arguments": dict(call.arguments)}
    return {
        **({} if call.id is None else {"id": call.id}),
        "type": "function",
        "function": function,
    }


def _sharegpt_turn(message: Message) -> Row:
    calls = message.tool_calls
    if len(calls) == 1 and calls[0].id is None and not message.content:
        call = {"name": calls[0].name, "arguments": dict(calls[0].arguments)}
        text = json.dumps(call, ensure_ascii=False)
        return {"from": "function_call", "value": text, **_extra_keys(message)}
    name = "developer" if message.is_developer else _SHAREGPT_ROLES[message.role]
    return {
        "from": name,
        "value": message.content,
        **({"tool_calls": [_openai_call(call) for call in calls]} if calls else {}),
        **_extra_keys(message),
    }


def _extra_keys(message: Message) -> Row:
    """What few messages have, under OpenAI's names in either layout."""
    is_masked = message.role is Role.ASSISTANT and not message.learn
    extras = {
        "tool_call_id": message.tool_call_id,
        "name": message.name,
        "reasoning_content": message.reasoning,
        "weight": 0 if is_masked else None,
    }
    return {key: value for key, value in extras.items() if value is not None}
