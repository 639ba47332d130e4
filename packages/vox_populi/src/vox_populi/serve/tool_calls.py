"""Finding calls of tools in an answer, in the forms that models are trained to write. No torch.

| Form | Looks like |
|---|---|
| Hermes, Qwen | `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, once for each call |
| Mistral | `[TOOL_CALLS][{"name": ..., "arguments": {...}}]` or `[TOOL_CALLS]name[ARGS]{...}` |
| Llama 3 | `<|python_tag|>{"name": ..., "parameters": {...}}`, or the object alone |

The marks of the last two are control tokens, which a text does not show, so their JSON counts
without them if it names a tool of the request. What is not a call stays text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

_HERMES = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)", re.DOTALL)
_MISTRAL, _LLAMA = "[TOOL_CALLS]", "<|python_tag|>"
_MARKS = ("<tool_call>", _MISTRAL, _LLAMA)
_NAMED = re.compile(r"\s*([\w.\-]{1,64})\s*(?:\[ARGS\])?\s*(?=\{)")
_SEPARATORS = " \t\r\n;,"
_MOST_CALLS = 64


@dataclass(frozen=True, slots=True)
class FoundCall:
    """A call as a model wrote it."""

    name: str
    arguments: str
    """A JSON object."""


class ToolCallFinder:
    """Passes the text of an answer on until calls may have begun.

    Args:
        names: Tools of the request.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._text = ""
        self._shown = 0

    def take(self, text: str) -> str:
        """More of the answer; what of it is certain to be no call."""
        self._text += text
        if self._may_be_bare():
            return ""
        return self._show(self._first_mark())

    def finish(self) -> tuple[str, tuple[FoundCall, ...]]:
        """The text that was held back and is no call, and the calls."""
        held = self._text[self._shown :]
        calls, rest = _calls_in(held, self._names)
        if not calls:
            return held, ()
        return rest.strip(), calls

    def _may_be_bare(self) -> bool:
        """Whether the answer as a whole may be a call without a mark."""
        if self._shown:
            return False
        start = self._text.lstrip()
        if not start or start[0] in "{[":
            return True
        return any(start.startswith(name) or name.startswith(start) for name in self._names)

    def _first_mark(self) -> int:
        """The place where a mark begins, or may begin; the end of the text if there is none."""
        found = [place for mark in _MARKS if (place := self._text.find(mark)) >= 0]
        if found:
            return min(found)
        for place in range(max(0, len(self._text) - max(map(len, _MARKS)) + 1), len(self._text)):
            if any(mark.startswith(self._text[place:]) for mark in _MARKS):
                return place
        return len(self._text)

    def _show(self, end: int) -> str:
        start, self._shown = self._shown, max(self._shown, end)
        return self._text[start:end]


def _calls_in(text: str, names: Collection[str]) -> tuple[tuple[FoundCall, ...], str]:
    """The calls of a text, and what is left of it."""
    hermes = [list(_objects(each.group(1))) for each in _HERMES.finditer(text)]
    if hermes:
        calls = tuple(call for found in hermes for call in found)
        return calls[:_MOST_CALLS], _HERMES.sub("", text)
    for mark in (_MISTRAL, _LLAMA):
        before, found_mark, after = text.partition(mark)
        if found_mark:
            return tuple(_objects(after.replace(mark, " ")))[:_MOST_CALLS], before
    bare = tuple(_objects(text))[:_MOST_CALLS]
    is_for_tools = all(call.name in names for call in bare)
    return (bare if is_for_tools else ()), ""


def _objects(text: str) -> Iterator[FoundCall]:
    """The calls that a text consists of, one after the other; none if it has anything else."""
    calls: list[FoundCall] = []
    position = 0
    while position < len(text):
        if text[position] in _SEPARATORS:
            position += 1
            continue
        named = _NAMED.match(text, position)
        start = position if named is None else named.end()
        try:
            value, position = json.JSONDecoder().raw_decode(text, start)
        except (ValueError, RecursionError):
            return
        found = _calls_of(value, None if named is None else named.group(1))
        if not found:
            return
        calls += found
    yield from calls


def _calls_of(value: object, name: str | None) -> list[FoundCall]:
    """The calls that a JSON value stands for; none if it is anything else."""
    if isinstance(value, list):
        found = [_calls_of(each, None) for each in value]
        return [call for calls in found for call in calls] if all(found) else []
    if not isinstance(value, dict):
        return []
    if name is not None:
        return [FoundCall(name, _as_json(value))]
    inner = value.get("function")
    call = inner if isinstance(inner, dict) else value
    called = call.get("name")
    key = "arguments" if "arguments" in call else "parameters"
    arguments = _arguments(call.get(key, {}))
    if not isinstance(called, str) or not called or arguments is None:
        return []
    return [FoundCall(called, _as_json(arguments))]


def _arguments(value: object) -> Mapping[str, object] | None:
    """Arguments as an object; some models write them as JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def _as_json(arguments: Mapping[str, object]) -> str:
    return json.dumps(arguments, ensure_ascii=False)
