"""The row formats a corpus may use, each turned into one `TrainingRecord`.

| Shape | Keys |
|---|---|
| prompt and answer | `prompt` or `instruction` (+ `input`), `response`, `output` or `completion` |
| Alpaca extras | `system`, `history` (pairs of earlier prompt and answer) |
| OpenAI messages | `messages` or `turns`: `role`, `content`, an assistant's `weight` 0 or 1 |
| ShareGPT | `conversations`: `from`, `value` |

In all of them, `weight` sets how much the row counts in the loss.

A conversation takes precedence over a prompt and answer in the same row, `prompt` over
`instruction`, `response` over `output` over `completion`; a blank value counts as absent. Other
keys are ignored. Messages about a row never quote it: it may be private.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from vox_populi.data.row_labels import row_labels
from vox_populi.errors import DataError
from vox_populi.number_ranges import ROW_WEIGHT
from vox_populi.operator_messages import data as say
from vox_tensor.errors import Problem
from vox_tensor.records import Message, Role, TrainingRecord


class RowShape(StrEnum):
    """Which of the accepted layouts a row uses."""

    MESSAGES = "messages"
    TURNS = "turns"
    CONVERSATIONS = "conversations"
    PROMPT_RESPONSE = "prompt_response"


CONVERSATION_KEYS = (RowShape.MESSAGES, RowShape.TURNS, RowShape.CONVERSATIONS)
"""Keys with a list of turns; the shape is named after its key."""

PROMPT_KEYS = ("prompt", "instruction")
RESPONSE_KEYS = ("response", "output", "completion")
_CONVERSATION_NAMES = tuple(shape.value for shape in CONVERSATION_KEYS)
_PAIR_KEYS = frozenset((*PROMPT_KEYS, *RESPONSE_KEYS))

ROLE_NAMES: Mapping[str, Role] = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "human": Role.USER,
    "assistant": Role.ASSISTANT,
    "gpt": Role.ASSISTANT,
    "model": Role.ASSISTANT,
    "function_call": Role.ASSISTANT,
    "tool": Role.TOOL,
    "function": Role.TOOL,
    "observation": Role.TOOL,
}
"""Names of each role in rows (OpenAI and ShareGPT)."""


def parse_row(value: Mapping[str, object], line: int, where: str) -> TrainingRecord:
    """Turn a row of any accepted format into messages.

    Args:
        value: The JSON object of the row.
        line: Its 1-based line.
        where: Name of its file, for messages.

    Raises:
        DataError: With every problem of this row.
    """
    row = _Row(value, f"{where}:{line}")
    shape = row_shape(value)
    if shape is None:
        raise DataError(
            say.row_shape_unknown(row.place, CONVERSATION_KEYS, PROMPT_KEYS, RESPONSE_KEYS)
        )
    if value.get("tools"):
        row.problems.append(say.tool_calls_unsupported(row.place, "tools"))
    parse = _prompt_response if shape is RowShape.PROMPT_RESPONSE else _conversation
    messages, weight = parse(row), _weight(row)
    if row.problems:
        raise DataError(*row.problems)
    labels = row_labels(value)
    return TrainingRecord(
        messages=tuple(messages),
        line=line,
        rating=labels.rating,
        category=labels.category,
        lane=labels.lane,
        source=labels.source,
        weight=weight,
        ignored=labels.ignored,
    )


def row_shape(value: Mapping[str, object]) -> RowShape | None:
    """The layout a row uses, or `None` if it uses none of them."""
    # Looked up as plain strings: an enum member's hash is computed in Python, for every row.
    for key in _CONVERSATION_NAMES:
        if value.get(key):
            return RowShape(key)
    if not _PAIR_KEYS.isdisjoint(value):
        return RowShape.PROMPT_RESPONSE
    # An empty conversation says what was meant, so that the complaint can be about that.
    return next((RowShape(key) for key in _CONVERSATION_NAMES if key in value), None)


def learns_something(record: TrainingRecord) -> bool:
    """Whether at least one message of a row is supervised."""
    return any(message.role is Role.ASSISTANT and message.learn for message in record.messages)


class _Row:
    """A JSON object with its place, and its problems so far."""

    __slots__ = ("place", "problems", "value")

    def __init__(self, value: Mapping[str, object], place: str) -> None:
        self.value = value
        self.place = place
        self.problems: list[Problem] = []

    def text(self, key: str) -> str:
        """A string field; absent, null and blank all give an empty string."""
        found = self.value.get(key)
        if found is None:
            return ""
        if not isinstance(found, str):
            self.wrong_type(key, "a string", found)
            return ""
        return found if found.strip() else ""

    def first_text(self, keys: tuple[str, ...]) -> str:
        """The first field of `keys` that is not blank."""
        # Every field is looked at, so that a wrong type is reported behind a good value too.
        value = self.value
        found = [self.text(key) for key in keys if key in value]
        return next(filter(None, found), "")

    def wrong_type(self, field: str, expected: str, found: object) -> None:
        """Record a field of the wrong type, without its value."""
        self.problems.append(say.row_field_type(self.place, field, expected, json_type(found)))


def json_type(value: object) -> str:
    """JSON's name for the type of a parsed value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names = {str: "a string", int: "a number", float: "a number", list: "a list"}
    return names.get(type(value), "an object")


def _weight(row: _Row) -> float:
    """Weight of a row; unlike a label, a wrong one would silently change what is learned."""
    found = row.value.get("weight")
    if found is None:
        return 1.0
    if isinstance(found, int | float) and ROW_WEIGHT.holds(found):
        return float(found)
    what = json_type(found)
    if what == "a number":
        what = "a number out of range"
    row.problems.append(say.row_field_type(row.place, "weight", str(ROW_WEIGHT), what))
    return 1.0


def _prompt_response(row: _Row) -> list[Message]:
    prompt = _prompt(row)
    response = row.first_text(RESPONSE_KEYS)
    if not row.problems:
        if not prompt:
            row.problems.append(say.row_field_blank(row.place, " or ".join(PROMPT_KEYS)))
        if not response:
            row.problems.append(say.row_field_blank(row.place, " or ".join(RESPONSE_KEYS)))
    system, history = row.text("system"), _history(row)
    if row.problems:
        return []
    return [
        *([Message(Role.SYSTEM, system)] if system else []),
        *history,
        Message(Role.USER, prompt),
        Message(Role.ASSISTANT, response),
    ]


def _prompt(row: _Row) -> str:
    prompt, instruction = row.text(PROMPT_KEYS[0]), row.text(PROMPT_KEYS[1])
    extra = row.text("input")
    if prompt and instruction:
        # A row with both repeats itself: `prompt` is the finished text, `input` included.
        return prompt
    return "\n".join(filter(None, (prompt or instruction, extra)))


def _history(row: _Row) -> list[Message]:
    found = row.value.get("history")
    if found is None:
        return []
    pairs = found if isinstance(found, list) else [None]
    messages: list[Message] = []
    for pair in pairs:
        match pair:
            case [str(prompt), str(answer)]:
                messages += [Message(Role.USER, prompt), Message(Role.ASSISTANT, answer)]
            case _:
                row.wrong_type("history", "a list of [prompt, answer] pairs", found)
                return []
    return messages


def _conversation(row: _Row) -> list[Message]:
    key = row_shape(row.value)
    assert key is not None, "parse_row calls this for a conversation"
    turns = row.value[key]
    others = [row.value[other] for other in CONVERSATION_KEYS if row.value.get(other)]
    if any(other != turns for other in others):
        row.problems.append(say.conversations_conflict(row.place, CONVERSATION_KEYS))
        return []
    if not isinstance(turns, list):
        row.wrong_type(key, "a list of messages", turns)
        return []
    messages = [_turn(row, turn, f"{key}[{i}]") for i, turn in enumerate(turns)]
    if not row.problems and not any(message.role is Role.ASSISTANT for message in messages):
        row.problems.append(say.no_assistant_message(row.place))
    return [*_row_system(row, messages), *messages]


def _row_system(row: _Row, messages: list[Message]) -> list[Message]:
    """A `system` field next to the list, as in ShareGPT files."""
    system = row.text("system")
    if not system:
        return []
    inside = [message.content for message in messages if message.role is Role.SYSTEM]
    if inside and inside[0] != system:
        row.problems.append(say.system_prompts_conflict(row.place))
    return [] if inside else [Message(Role.SYSTEM, system)]


def _turn(row: _Row, turn: object, field: str) -> Message:
    nothing = Message(Role.USER, "")
    if not isinstance(turn, dict):
        row.wrong_type(field, "an object", turn)
        return nothing
    role = _role(row, turn, field)
    if turn.get("tool_calls") or turn.get("function_call"):
        row.problems.append(say.tool_calls_unsupported(row.place, field))
        return nothing
    content = _content(row, turn, field)
    learn = _learn(row, turn, field, role)
    if role is None or content is None:
        return nothing
    if role is Role.ASSISTANT and learn and not content.strip():
        row.problems.append(say.row_field_blank(row.place, field))
    return Message(role, content, learn)


def _role(row: _Row, turn: Mapping[str, object], field: str) -> Role | None:
    key = "role" if "role" in turn else "from"
    name = turn.get(key)
    if not isinstance(name, str):
        row.wrong_type(f"{field}.{key}", "a string", name)
        return None
    role = ROLE_NAMES.get(name.strip().lower())
    if role is None:
        row.problems.append(say.role_unknown(row.place, f"{field}.{key}", tuple(ROLE_NAMES)))
    return role


def _content(row: _Row, turn: Mapping[str, object], field: str) -> str | None:
    key = "content" if "content" in turn else "value"
    content = turn.get(key)
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return _joined_parts(row, content, f"{field}.{key}")
    row.wrong_type(f"{field}.{key}", "a string or a list of text parts", content)
    return None


def _joined_parts(row: _Row, parts: list[object], field: str) -> str | None:
    texts: list[str] = []
    for i, part in enumerate(parts):
        match part:
            case str(text) | {"type": "text", "text": str(text)}:
                texts.append(text)
            case _:
                row.problems.append(say.content_part_unsupported(row.place, f"{field}[{i}]"))
                return None
    return "".join(texts)


def _learn(row: _Row, turn: Mapping[str, object], field: str, role: Role | None) -> bool:
    weight = turn.get("weight")
    if weight is None:
        return True
    if isinstance(weight, bool) or weight not in (0, 1):
        row.problems.append(say.weight_not_binary(row.place, f"{field}.weight"))
    elif weight == 1 and role not in (Role.ASSISTANT, None):
        # Asking to learn what is never learned must not pass in silence.
        row.problems.append(say.weight_without_effect(row.place, f"{field}.weight"))
    return weight != 0
