"""Turns of a conversation as rows have them, OpenAI's and ShareGPT's, as messages."""

from __future__ import annotations

import json
from collections.abc import Mapping

from vox_populi.data.row_fields import RowFields
from vox_populi.data.row_tools import tool_calls
from vox_populi.operator_messages import data as say
from vox_populi.operator_messages import rows as say_rows
from vox_tensor.records import Message, MessageExtras, Role, ToolCall

ROLE_NAMES: Mapping[str, Role] = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "human": Role.USER,
    "assistant": Role.ASSISTANT,
    "gpt": Role.ASSISTANT,
    "model": Role.ASSISTANT,
    "bot": Role.ASSISTANT,
    "function_call": Role.ASSISTANT,
    "tool_call": Role.ASSISTANT,
    "tool": Role.TOOL,
    "function": Role.TOOL,
    "observation": Role.TOOL,
    "tool_response": Role.TOOL,
    "ipython": Role.TOOL,
}
"""Names of each role in rows (OpenAI, ShareGPT, Llama, ms-swift)."""

_CALL_ROLES = frozenset(("function_call", "tool_call"))
"""Roles whose content is a call as JSON."""
LEARN_KEYS = ("weight", "train", "loss", "learn")
"""Whether an assistant's message is learned: `weight` 0 or 1, the others true or false."""
REASONING_KEYS = ("reasoning_content", "thinking", "reasoning")
_TEXT_PARTS = frozenset(("text", "input_text", "output_text"))
_PART_TYPES = frozenset(
    (
        *("image", "image_url", "input_image", "audio", "audio_url", "input_audio"),
        *("video", "video_url", "file", "input_file", "document", "tool_use", "tool_result"),
    )
)
"""Types of parts that a message may name, because none of them is private."""


def parse_turns(row: RowFields, turns: list[object], field: str) -> list[Message]:
    """The messages of a list; what is wrong with one is a problem of the row."""
    return [_turn(row, turn, f"{field}[{i}]") for i, turn in enumerate(turns)]


def _turn(row: RowFields, turn: object, field: str) -> Message:
    if not isinstance(turn, dict):
        row.wrong_type(field, "an object", turn)
        return _NOTHING
    key = "role" if "role" in turn else "from"
    name = turn.get(key)
    role = ROLE_NAMES.get(name) if isinstance(name, str) else None
    if role is not None and len(turn) == 2 and name not in _UNUSUAL_ROLES:
        # Nearly every turn of a corpus: a role, a text and nothing else.
        content = turn.get("content") if "content" in turn else turn.get("value")
        if isinstance(content, str) and content.strip():
            return Message(role, content)
    return _any_turn(row, turn, field)


_NOTHING = Message(Role.USER, "")
"""Stands for a turn that cannot be used; its row is refused."""
_UNUSUAL_ROLES = _CALL_ROLES | {"developer"}


def _any_turn(row: RowFields, turn: Mapping[str, object], field: str) -> Message:
    n_problems = len(row.problems)
    name = _role_name(row, turn, field)
    role = None if name is None else ROLE_NAMES[name]
    calls = _calls(row, turn, field, name)
    has_calls = bool(calls) or len(row.problems) > n_problems
    content: str | None = ""
    if name not in _CALL_ROLES:
        content = _content(row, turn, field, role, is_optional=has_calls)
    learn = _learn(row, turn, field, role)
    if role is None or content is None:
        return _NOTHING
    says_something = bool(calls) or bool(content.strip()) or len(row.problems) > n_problems
    if role is Role.ASSISTANT and learn and not says_something:
        row.blank(field)
    return Message(role, content, learn, _extras(row, turn, field, role, calls, name))


def _role_name(row: RowFields, turn: Mapping[str, object], field: str) -> str | None:
    key = "role" if "role" in turn else "from"
    name = turn.get(key)
    if not isinstance(name, str):
        row.wrong_type(f"{field}.{key}", "a string", name)
        return None
    name = name.strip().lower()
    if name in ROLE_NAMES:
        return name
    row.problems.append(say.role_unknown(f"{field}.{key}", tuple(ROLE_NAMES)).at(row.place))
    return None


def _calls(
    row: RowFields, turn: Mapping[str, object], field: str, role_name: str | None
) -> tuple[ToolCall, ...]:
    """The calls of a message; under ShareGPT's role for them the content is the call."""
    found: dict[str, tuple[ToolCall, ...]] = {}
    keys = ["tool_calls", "function_call"]
    if role_name in _CALL_ROLES:
        keys.append("content" if "content" in turn else "value")
    for key in keys:
        value = turn.get(key)
        if value or key not in keys[:2]:
            found[key] = tool_calls(row, value, f"{field}.{key}")
    names, calls = list(found), list(found.values())
    for key, other in zip(names[1:], calls[1:], strict=True):
        if other != calls[0]:
            row.conflict(f"{field}.{names[0]}", f"{field}.{key}")
    if calls and role_name is not None and ROLE_NAMES[role_name] is not Role.ASSISTANT:
        row.problems.append(say_rows.calls_of_another_role(f"{field}.{names[0]}").at(row.place))
    return calls[0] if calls else ()


def _content(
    row: RowFields,
    turn: Mapping[str, object],
    field: str,
    role: Role | None,
    *,
    is_optional: bool,
) -> str | None:
    key = "content" if "content" in turn or "value" not in turn else "value"
    content = turn.get(key)
    if isinstance(content, str):
        return content
    if content is None and is_optional:
        return ""
    if isinstance(content, list):
        return _joined_parts(row, content, f"{field}.{key}")
    if isinstance(content, dict) and role is Role.TOOL:
        return json.dumps(content, ensure_ascii=False)
    row.wrong_type(f"{field}.{key}", "a string or a list of text parts", content)
    return None


def _joined_parts(row: RowFields, parts: list[object], field: str) -> str | None:
    texts: list[str] = []
    for i, part in enumerate(parts):
        match part:
            case str(text):
                texts.append(text)
            case {"type": str(kind), "text": str(text)} if kind in _TEXT_PARTS:
                texts.append(text)
            case _:
                problem = say.content_part_unsupported(f"{field}[{i}]", _type_of(part)).at(
                    row.place
                )
                row.problems.append(problem)
                return None
    return "".join(texts)


def _type_of(part: object) -> str | None:
    """The type of a part, if it is one of the known ones."""
    found = part.get("type") if isinstance(part, dict) else None
    return found if isinstance(found, str) and found in _PART_TYPES else None


def _learn(row: RowFields, turn: Mapping[str, object], field: str, role: Role | None) -> bool:
    said: dict[str, bool] = {}
    for key in LEARN_KEYS:
        found = turn.get(key)
        if found is None:
            continue
        place = f"{field}.{key}"
        is_flag = key != "weight"
        if found not in (0, 1) or (isinstance(found, bool) and not is_flag):
            row.problems.append(say.weight_not_binary(row.place, place, is_flag=is_flag))
            continue
        said[key] = bool(found)
        if found and role not in (Role.ASSISTANT, None):
            # Asking to learn what is never learned must not pass in silence.
            row.problems.append(say.weight_without_effect(place).at(row.place))
    if len(set(said.values())) > 1:
        first, *others = said
        other = next(key for key in others if said[key] is not said[first])
        row.conflict(f"{field}.{first}", f"{field}.{other}")
    return all(said.values())


def _extras(
    row: RowFields,
    turn: Mapping[str, object],
    field: str,
    role: Role,
    calls: tuple[ToolCall, ...],
    role_name: str | None,
) -> MessageExtras | None:
    extras = MessageExtras(
        tool_calls=calls,
        tool_call_id=_label(turn, "tool_call_id") if role is Role.TOOL else None,
        name=_label(turn, "name"),
        reasoning=reasoning_of(row, turn, f"{field}.") if role is Role.ASSISTANT else None,
        is_developer=role_name == "developer",
    )
    return None if extras == _NO_EXTRAS else extras


_NO_EXTRAS = MessageExtras()


def _label(turn: Mapping[str, object], key: str) -> str | None:
    """A name or an id; of another type it says nothing to a template and is left out."""
    found = turn.get(key)
    return found if isinstance(found, str) and found.strip() else None


def reasoning_of(row: RowFields, fields: Mapping[str, object], prefix: str = "") -> str | None:
    """What an assistant thought before its answer, under any of its names.

    Args:
        row: Gets the problems.
        fields: The message, or a row with a prompt and an answer.
        prefix: Put before a key in messages.
    """
    found: dict[str, str] = {}
    for key in REASONING_KEYS:
        value = fields.get(key)
        if isinstance(value, str) and value.strip():
            found[key] = value
        elif key == REASONING_KEYS[0] and value is not None and not isinstance(value, str):
            # The other names also stand for settings; such values are no text and left out.
            row.wrong_type(f"{prefix}{key}", "a string", value)
    first = next(iter(found), None)
    if first is None:
        return None
    for key, text in found.items():
        if text != found[first]:
            row.conflict(f"{prefix}{first}", f"{prefix}{key}")
    return found[first]
