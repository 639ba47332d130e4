"""What a conversation gives a model's own template, in the form that the template can write.

Templates differ: one wants the arguments of a call as an object and another as JSON text, one
needs ids of nine letters, many ignore tools, calls or reasoning without a word. What a template
does is found out once, by rendering a conversation of known words. What it would drop is refused:
a row must not be learned without a part that its author wrote.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from typing import Any

from vox_populi.data.chat_template import ModelTemplate, TemplateMessage
from vox_populi.errors import DataError
from vox_populi.operator_messages import rows as say
from vox_tensor.errors import Problem
from vox_tensor.records import Message, Role, ToolCall, TrainingRecord

Tools = Sequence[Mapping[str, object]]
"""Definitions of tools, as a row has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallForm:
    """The form in which a template takes the calls of a message."""

    as_text: bool
    """Whether arguments are JSON text; otherwise an object."""
    needs_content: bool
    """Whether a message that only calls must have an empty text; otherwise it has none."""
    has_short_ids: bool
    """Whether ids must be nine letters or digits, as Mistral's."""
    keeps_text: bool
    """Whether text beside calls is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateUse:
    """What a template writes of a conversation."""

    writes_tools: bool
    calls: CallForm | None
    """`None`: it drops or refuses calls."""
    writes_results: bool
    """Whether the answers of tools are written, or refused aloud."""
    reasoning_keys: tuple[str, ...]
    """Keys under which it reads reasoning; none if it drops it."""
    knows_developer: bool


def template_turns(
    messages: Sequence[Message], tools: Tools, template: ModelTemplate, place: str
) -> list[TemplateMessage]:
    """The messages as the template takes them.

    Args:
        messages: The conversation.
        tools: Definitions of tools that go with it.
        template: Decides the form.
        place: File and line, for messages.

    Raises:
        DataError: When the template would drop a part of it.
    """
    if not tools and all(each.extras is None and each.role is not Role.TOOL for each in messages):
        return [{"role": each.role.value, "content": each.content} for each in messages]
    use = template_use(template, has_tools=bool(tools))
    problems = tuple(_dropped(messages, tools, use, place))
    if problems:
        raise DataError(*problems)
    return list(_turns(messages, use))


def templated_record(record: TrainingRecord, template: ModelTemplate) -> TrainingRecord:
    """The record with real tool calls, if it has them and the template has tools."""
    if record.with_calls is None:
        return record
    use = template_use(template, has_tools=True)
    has_tools = use.writes_tools and use.writes_results and use.calls is not None
    return record.with_calls if has_tools else record


def template_use(template: ModelTemplate, *, has_tools: bool) -> TemplateUse:
    """What a template writes of conversations with or without definitions of tools.

    It is found out once for each; a folder may have a second template for those with tools.
    """
    tokens = tuple(sorted(template.tokens.items()))
    return _probed(_Key(template.text, tokens, has_tools, template))


def _dropped(
    messages: Sequence[Message], tools: Tools, use: TemplateUse, place: str
) -> Iterator[Problem]:
    has_calls = any(each.tool_calls for each in messages)
    if tools and not use.writes_tools:
        yield say.template_drops_tools("definitions of tools").at(place)
    if has_calls and use.calls is None:
        yield say.template_drops_tools("tool calls").at(place)
    elif not use.writes_results and any(each.role is Role.TOOL for each in messages):
        yield say.template_drops_tools("answers of tools").at(place)
    if not use.reasoning_keys and any(each.reasoning for each in messages):
        yield say.TEMPLATE_DROPS_REASONING.at(place)
    beside = any(each.tool_calls and each.content.strip() for each in messages)
    if beside and use.calls is not None and not use.calls.keeps_text:
        yield say.TEMPLATE_DROPS_TEXT.at(place)


def _turns(messages: Sequence[Message], use: TemplateUse) -> Iterator[TemplateMessage]:
    ids = _CallIds(is_short=use.calls is not None and use.calls.has_short_ids)
    for message in messages:
        turn: dict[str, Any] = {"role": message.role.value, "content": message.content}
        if message.is_developer and use.knows_developer:
            turn["role"] = "developer"
        if message.name is not None:
            turn["name"] = message.name
        if message.reasoning is not None:
            turn |= dict.fromkeys(use.reasoning_keys, message.reasoning)
        if message.tool_calls:
            assert use.calls is not None, "`_dropped` refuses the row"
            if not message.content or not (message.content.strip() or use.calls.keeps_text):
                turn["content"] = "" if use.calls.needs_content else None
            turn["tool_calls"] = [
                _call_turn(call, ids.of_call(call), as_text=use.calls.as_text)
                for call in message.tool_calls
            ]
        if message.role is Role.TOOL:
            turn["tool_call_id"] = ids.of_answer(message.tool_call_id)
        yield turn


def _call_turn(call: ToolCall, call_id: str | None, *, as_text: bool) -> dict[str, object]:
    arguments: object = dict(call.arguments)
    if as_text:
        arguments = json.dumps(arguments, ensure_ascii=False)
    function = {"name": call.name, "arguments": arguments}
    turn: dict[str, object] = {"type": "function", "function": function}
    return turn if call_id is None else {"id": call_id, **turn}


class _CallIds:
    """The ids of calls and of their answers, in the form that a template wants."""

    def __init__(self, *, is_short: bool) -> None:
        self._is_short = is_short
        self._open: list[str] = []
        self._calls = 0

    def of_call(self, call: ToolCall) -> str | None:
        """The id of the next call."""
        self._calls += 1
        if not self._is_short:
            return call.id
        # A call without an id gets one of its own, which its answer refers to.
        own = json.dumps([self._calls, call.name, dict(call.arguments)])
        short = _short_id(own if call.id is None else call.id)
        self._open.append(short)
        return short

    def of_answer(self, call_id: str | None) -> str | None:
        """The id of the call that a message answers: the named one, or the first open one."""
        if not self._is_short:
            return call_id
        short = None if call_id is None else _short_id(call_id)
        if short is None:
            return self._open.pop(0) if self._open else _short_id("")
        if short in self._open:
            self._open.remove(short)
        return short


_SHORT_ID = 9
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def _short_id(call_id: str) -> str:
    """An id of nine letters and digits; one that is so already stays."""
    if len(call_id) == _SHORT_ID and call_id.isascii() and call_id.isalnum():
        return call_id
    digest = hashlib.blake2b(call_id.encode("utf-8", "surrogatepass"), digest_size=_SHORT_ID)
    return "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest.digest())


@dataclass(frozen=True, slots=True)
class _Key:
    """A template by what decides what it writes."""

    text: str
    tokens: tuple[tuple[str, str], ...]
    has_tools: bool
    template: ModelTemplate = field(compare=False)


@lru_cache(maxsize=8)
def _probed(key: _Key) -> TemplateUse:
    template, tools = key.template, (_TOOL,) if key.has_tools else ()
    return TemplateUse(
        writes_tools=any(
            _writes(template, turns, (_TOOL,), "vox_tool") for turns in ([_USER], [_SYSTEM, _USER])
        ),
        calls=_call_form(template, tools),
        writes_results=_writes_results(template, tools),
        reasoning_keys=_reasoning_keys(template, tools),
        knows_developer="developer" in template.text,
    )


_USER: TemplateMessage = {"role": "user", "content": "vox_question"}
_SYSTEM: TemplateMessage = {"role": "system", "content": "vox_system"}
_DONE: TemplateMessage = {"role": "assistant", "content": "vox_done"}
_PARAMETERS = {
    "type": "object",
    "properties": {"vox_argument": {"type": "string", "description": "vox_description"}},
    "required": ["vox_argument"],
}
_TOOL: Mapping[str, object] = {
    "type": "function",
    "function": {
        "name": "vox_tool",
        "description": "vox_description",
        "parameters": _PARAMETERS,
    },
}
_CALL = ToolCall("vox_call", {"vox_argument": "vox_value"})
_PROBE_IDS = ("call_vox0123456789abcdefgh", "vox012345")
# Transformers fills the first two, whichever of the names a message has.
_REASONING_KEYS = (
    ("reasoning_content", "thinking"),
    ("reasoning_content", "thinking", "reasoning"),
)


def _rendered(
    template: ModelTemplate, turns: Sequence[TemplateMessage], tools: Tools = ()
) -> str | None:
    """What a template writes; `None` if it refuses."""
    try:
        return template.render(turns, tools=list(tools) or None).text
    except DataError:
        return None


def _writes(
    template: ModelTemplate, turns: Sequence[TemplateMessage], tools: Tools, *words: str
) -> bool:
    text = _rendered(template, turns, tools)
    return text is not None and all(word in text for word in words)


def _called(call_id: str, *, as_text: bool, content: str | None) -> list[TemplateMessage]:
    call = {"role": "assistant", "content": content}
    answer = {"role": "tool", "name": "vox_call", "content": "vox_result", "tool_call_id": call_id}
    return [
        _USER,
        {**call, "tool_calls": [_call_turn(_CALL, call_id, as_text=as_text)]},
        answer,
        _DONE,
    ]


def _call_form(template: ModelTemplate, tools: Tools) -> CallForm | None:
    """The first form in which the template writes a call right, from the most usual on."""
    for call_id, as_text, content in product(_PROBE_IDS, (False, True), (None, "")):
        text = _rendered(template, _called(call_id, as_text=as_text, content=content), tools)
        if text is None or not _is_call_written(text, as_text=as_text):
            continue
        beside = _called(call_id, as_text=as_text, content="vox_text")
        return CallForm(
            as_text=as_text,
            needs_content=content is not None,
            has_short_ids=call_id == _PROBE_IDS[1],
            keeps_text=_writes(template, beside, tools, "vox_text", "vox_value"),
        )
    return None


def _is_call_written(text: str, *, as_text: bool) -> bool:
    """Whether name and arguments are in a text, neither as Python's nor as quoted JSON."""
    if as_text:
        return "vox_call" in text and json.dumps(_CALL.arguments) in text
    is_python = "'vox_argument'" in text
    return all(word in text for word in ("vox_call", "vox_argument", "vox_value")) and not is_python


def _writes_results(template: ModelTemplate, tools: Tools) -> bool:
    """Whether answers of tools are in the text; a template that refuses them says so itself."""
    said = [_USER, _DONE, {"role": "tool", "content": "vox_result", "name": "vox_call"}, _DONE]
    said[2] = {**said[2], "tool_call_id": _PROBE_IDS[1]}
    text = _rendered(template, said, tools)
    return text is None or "vox_result" in text


def _reasoning_keys(template: ModelTemplate, tools: Tools) -> tuple[str, ...]:
    for keys in _REASONING_KEYS:
        thought = {**_DONE, **dict.fromkeys(keys, "vox_reasoning")}
        if _writes(template, [_USER, thought], tools, "vox_reasoning"):
            return keys
    return ()
