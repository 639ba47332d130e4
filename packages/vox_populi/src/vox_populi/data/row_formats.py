"""The row formats a corpus may use, each turned into one `TrainingRecord`.

| Shape | Keys |
|---|---|
| OpenAI messages | `messages`, `turns` or `conversation`: `role`, `content` |
| ShareGPT | `conversations`: `from`, `value` |
| prompt | `prompt`, `instruction`, `question` or `query`, or `input` alone |
| and answer | `response`, `output`, `completion` or `answer` |
| text | `text` alone |

With all of them go `tools`, `system`, `weight` and the labels; docs/src/reference/rows.md has the
whole list. A conversation takes precedence over a prompt and an answer in the same row, and these
over a text; a blank value counts as absent. Fields that mean the same must agree. Other keys are
ignored. Messages about a row never quote it: it may be private.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum

from vox_populi.data.learned_parts import is_learned
from vox_populi.data.row_fields import RowFields, json_type
from vox_populi.data.row_labels import row_labels
from vox_populi.data.row_pairs import (
    ANSWER_KEYS,
    PROMPT_KEYS,
    SYSTEM_KEYS,
    pair_messages,
    system_message,
)
from vox_populi.data.row_tools import TOOLS_KEYS, row_tools
from vox_populi.data.row_turns import parse_turns
from vox_populi.data.trace_calls import TRACE_KEY, trace_calls
from vox_populi.errors import DataError
from vox_populi.number_ranges import ROW_WEIGHT
from vox_populi.operator_messages import data as say
from vox_tensor.records import Message, Role, TrainingRecord


class RowShape(StrEnum):
    """Which of the accepted layouts a row uses."""

    MESSAGES = "messages"
    TURNS = "turns"
    CONVERSATIONS = "conversations"
    CONVERSATION = "conversation"
    PROMPT_RESPONSE = "prompt_response"
    TEXT = "text"


CONVERSATION_KEYS = (
    *(RowShape.MESSAGES, RowShape.TURNS, RowShape.CONVERSATIONS, RowShape.CONVERSATION),
)
"""Keys with a list of turns; the shape is named after its key."""

_CONVERSATION_NAMES = tuple(shape.value for shape in CONVERSATION_KEYS)
_PAIR_KEYS = frozenset((*PROMPT_KEYS, *ANSWER_KEYS))
_TEXT_KEY = RowShape.TEXT.value
_TOOLS = frozenset(TOOLS_KEYS)


def parse_row(value: Mapping[str, object], line: int, where: str) -> TrainingRecord:
    """Turn a row of any accepted format into messages.

    Args:
        value: The JSON object of the row.
        line: Its 1-based line.
        where: Name of its file, for messages.

    Raises:
        DataError: With every problem of this row.
    """
    row = RowFields(value, f"{where}:{line}")
    shape = row_shape(value)
    if shape is None:
        raise DataError(
            say.row_shape_unknown(_CONVERSATION_NAMES, PROMPT_KEYS, ANSWER_KEYS, _TEXT_KEY).at(
                row.place
            )
        )
    messages = _messages(row, shape)
    tools = () if _TOOLS.isdisjoint(value) else row_tools(row)
    weight = _weight(row) if "weight" in value else 1.0
    session = trace_calls(row) if TRACE_KEY in value else None
    if row.problems:
        raise DataError(*row.problems)
    labels = row_labels(value)
    record = TrainingRecord(
        messages=tuple(messages),
        line=line,
        rating=labels.rating,
        category=labels.category,
        lane=labels.lane,
        source=labels.source,
        difficulty=labels.difficulty,
        weight=weight,
        ignored=labels.ignored,
        tools=tools,
        is_text=shape is RowShape.TEXT,
    )
    if session is None:
        return record
    called = replace(record, messages=session.messages, tools=session.tools)
    return replace(record, with_calls=called)


def row_shape(value: Mapping[str, object]) -> RowShape | None:
    """The layout a row uses, or `None` if it uses none of them."""
    # Looked up as plain strings: an enum member's hash is computed in Python, for every row.
    for key in _CONVERSATION_NAMES:
        if value.get(key):
            return RowShape(key)
    if not _PAIR_KEYS.isdisjoint(value) and (
        _TEXT_KEY not in value or any(map(value.get, _PAIR_KEYS))
    ):
        return RowShape.PROMPT_RESPONSE
    if _TEXT_KEY in value:
        return RowShape.TEXT
    # An empty conversation says what was meant, so that the complaint can be about that.
    return next((RowShape(key) for key in _CONVERSATION_NAMES if key in value), None)


def learns_something(record: TrainingRecord) -> bool:
    """Whether at least one message of a row is supervised."""
    return any(map(is_learned, record.messages))


def _weight(row: RowFields) -> float:
    """Weight of a row; unlike a label, a wrong one would silently change what is learned."""
    found = row.value.get("weight")
    if found is None:
        return 1.0
    if isinstance(found, int | float) and ROW_WEIGHT.holds(found):
        return float(found)
    what = json_type(found)
    if what == "a number":
        what = "a number out of range"
    row.problems.append(say.row_field_type("weight", str(ROW_WEIGHT), what).at(row.place))
    return 1.0


def _messages(row: RowFields, shape: RowShape) -> list[Message]:
    if shape is RowShape.PROMPT_RESPONSE:
        return _answered(row, pair_messages(row))
    return _text(row) if shape is RowShape.TEXT else _conversation(row)


def _text(row: RowFields) -> list[Message]:
    text = row.text(_TEXT_KEY)
    if not text and not row.problems:
        row.blank(_TEXT_KEY)
    return [Message(Role.ASSISTANT, text)]


def _conversation(row: RowFields) -> list[Message]:
    # The keys are looked up in one order, so the first one with anything is the shape's.
    keys = [key for key in _CONVERSATION_NAMES if row.value.get(key)]
    key = keys[0] if keys else next(key for key in _CONVERSATION_NAMES if key in row.value)
    for other in keys[1:]:
        if row.value[other] != row.value[key]:
            row.problems.append(say.conversations_conflict(key, other).at(row.place))
            return []
    turns = row.value[key]
    if isinstance(turns, str) and turns.lstrip().startswith("["):
        turns = row.parsed(turns, key, "a list of messages")
        if turns is None:
            return []
    if not isinstance(turns, list):
        row.wrong_type(key, "a list of messages", turns)
        return []
    messages = parse_turns(row, turns, key)
    system = row.one_text(SYSTEM_KEYS)
    return [*system_message(row, system, messages), *_answered(row, messages)]


def _answered(row: RowFields, messages: list[Message]) -> list[Message]:
    if not row.problems and not any(message.role is Role.ASSISTANT for message in messages):
        row.problems.append(say.NO_ASSISTANT_MESSAGE.at(row.place))
    return messages
