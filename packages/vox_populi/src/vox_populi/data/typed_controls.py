"""Finds the places in a rendered conversation where a row spells a control token, whole or in part.

Control tokens come from the template's own text only. The conversation is rendered a second time
with one character of each spelled token replaced by a character that occurs nowhere; wherever the
two texts differ, the character came with the row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from vox_populi.data.chat_template import ModelTemplate, RenderedChat, TemplateMessage
from vox_populi.errors import DataError
from vox_populi.operator_messages import chat_template as say

_VEILS = tuple(map(chr, range(0xE000, 0xF8FF)))
"""Private characters, which no published template or tokenizer uses."""

_FORM_KEYS = frozenset(
    (
        *("role", "content", "name", "reasoning_content", "thinking", "reasoning"),
        *("tool_calls", "tool_call_id", "id", "type", "function", "arguments"),
        *("description", "parameters", "properties", "required", "items", "enum"),
    )
)
"""Keys of messages and definitions that templates look up; other keys are text of the row."""
_FORM_TYPES = (*("function", "object", "array", "string", "number", "integer", "boolean", "null"),)
"""Values of `type` that templates compare with."""


def typed_controls(
    template: ModelTemplate,
    messages: Sequence[TemplateMessage],
    tools: Sequence[Mapping[str, Any]],
    rendered: RenderedChat,
    controls: Iterable[str],
    *,
    open_assistant: bool = False,
    place: str = "",
) -> list[tuple[int, int]]:
    """Spans of characters that came with the row and may make a control token.

    Raises:
        DataError: When the template treats such a message differently, so that they cannot be
            located.
    """
    text = rendered.text
    veil = next((each for each in _VEILS if each not in text), _VEILS[0])
    known = _controls_of(tuple(controls))
    veiled = [known.veiled(message, veil) for message in messages]
    veiled_tools = [known.veiled(tool, veil) for tool in tools]
    if veiled == list(messages) and veiled_tools == list(tools):
        return []
    try:
        shown = template.render(
            veiled, tools=veiled_tools or None, open_assistant=open_assistant, place=place
        ).text
    except DataError:
        raise DataError(say.CONTROL_TEXT_MOVED.at(place)) from None
    same = len(shown) == len(text) and all(b in (a, veil) for a, b in zip(text, shown, strict=True))
    if not same:
        raise DataError(say.CONTROL_TEXT_MOVED.at(place))
    return [(i, i + 1) for i, character in enumerate(shown) if character == veil]


class _Controls:
    """Control tokens, and the parts of them that a text could begin or end with."""

    def __init__(self, controls: Sequence[str]) -> None:
        self._longest = max(map(len, controls), default=0)
        # Some vocabularies have thousands: a look-up for each length, and only at a first letter.
        self._whole = frozenset(controls)
        self._lengths = sorted(set(map(len, controls)))
        self._first = _any_of(each[:1] for each in controls)
        self._last = _any_of(each[-1:] for each in controls)
        cuts = [(each, n) for each in controls for n in range(1, len(each))]
        self._starts = {each[:n] for each, n in cuts}
        self._ends = {each[n:] for each, n in cuts}
        self._joined = "\0".join(controls)

    def veiled(self, value: Any, veil: str) -> Any:
        """A message or definition with every text of its row veiled.

        Roles are ours and stay, and so do the words of the form that templates ask for.
        """
        if isinstance(value, str):
            return self._veiled_text(value, veil)
        if isinstance(value, dict):
            return {
                key if key in _FORM_KEYS else self._veiled_text(key, veil): each
                if key == "role" or (key == "type" and each in _FORM_TYPES)
                else self.veiled(each, veil)
                for key, each in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.veiled(each, veil) for each in value]
        return value

    def _veiled_text(self, text: str, veil: str) -> str:
        """Hide one character of each control token, or of a part of one at the text's borders."""
        places = {
            found.start()
            for found in self._first.finditer(text)
            if any(text[found.start() : found.start() + n] in self._whole for n in self._lengths)
        }
        core = text.strip()
        start = len(text) - len(text.lstrip())
        parts = range(1, min(self._longest, len(core) + 1))
        if core and len(core) < self._longest and core in self._joined:
            places.add(start)
        # A part at a border has a first or last letter near it, which most texts do not.
        if self._first.search(core, max(0, len(core) - self._longest)) and any(
            core[-n:] in self._starts for n in parts
        ):
            places.add(start + len(core) - 1)
        if self._last.search(core, 0, self._longest) and any(core[:n] in self._ends for n in parts):
            places.add(start)
        if not places:
            return text
        return "".join(veil if i in places else letter for i, letter in enumerate(text))


def _any_of(letters: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(sorted({re.escape(each) for each in letters})) or "(?!)")


@lru_cache(maxsize=4)
def _controls_of(controls: tuple[str, ...]) -> _Controls:
    return _Controls(controls)
