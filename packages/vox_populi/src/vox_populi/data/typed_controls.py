"""Finds the places in a rendered conversation where a row spells a control token, whole or in part.

Control tokens come from the template's own text only. The conversation is rendered a second time
with one character of each spelled token replaced by a character that occurs nowhere; wherever the
two texts differ, the character came with the row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from vox_populi.data.chat_template import ModelTemplate, RenderedChat, TemplateMessage
from vox_populi.errors import DataError
from vox_populi.operator_messages import chat_template as say

_VEILS = tuple(map(chr, range(0xE000, 0xF8FF)))
"""Private characters, which no published template or tokenizer uses."""


def typed_controls(
    template: ModelTemplate,
    messages: Sequence[TemplateMessage],
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
    known = tuple(controls)
    veiled = [_veiled(message, known, veil) for message in messages]
    if veiled == list(messages):
        return []
    try:
        shown = template.render(veiled, open_assistant=open_assistant, place=place).text
    except DataError:
        raise DataError(say.control_text_moved(place)) from None
    same = len(shown) == len(text) and all(b in (a, veil) for a, b in zip(text, shown, strict=True))
    if not same:
        raise DataError(say.control_text_moved(place))
    return [(i, i + 1) for i, character in enumerate(shown) if character == veil]


def _veiled(value: Any, controls: Sequence[str], veil: str) -> Any:
    """A message with every text of its row veiled; roles are ours and stay."""
    if isinstance(value, str):
        return _veiled_text(value, controls, veil)
    if isinstance(value, dict):
        return {
            key: each if key == "role" else _veiled(each, controls, veil)
            for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [_veiled(each, controls, veil) for each in value]
    return value


def _veiled_text(text: str, controls: Sequence[str], veil: str) -> str:
    """A text without one character of each control token, or of the part of one at its borders."""
    places = set[int]()
    core = text.strip()
    start = len(text) - len(text.lstrip())
    end = start + len(core)
    for control in controls:
        found = text.find(control)
        while found >= 0:
            places.add(found)
            found = text.find(control, found + 1)
        if not core:
            continue
        if core in control:
            places.add(start)
        parts = range(1, min(len(control), len(core) + 1))
        if any(core.endswith(control[:n]) for n in parts):
            places.add(end - 1)
        if any(core.startswith(control[-n:]) for n in parts):
            places.add(start)
    if not places:
        return text
    return "".join(veil if i in places else letter for i, letter in enumerate(text))
