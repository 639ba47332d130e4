"""What a template writes around the texts of a conversation, found once for conversations alike.

Most templates copy the texts of messages and look at nothing in them. Such a template writes the
same words around the texts of every conversation with the same roles: its *form*. A form is found
by rendering with stand-ins for the texts that do not let themselves be read: whatever a template
does with one besides writing it, joining it to others and asking whether it is empty ends the
attempt, and the conversation is rendered as usual, as is every template with a construct that could
read a text unseen. A form is used only after it has given the text of a whole render.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import jinja2

from vox_populi.data.jinja_sandbox import FAILURES, MAX_CHARACTERS, CompiledTemplate, Rendered
from vox_populi.data.unread_text import TextReadError, UnreadText, traced_template

_MOST_SHAPES = 4096
"""Kinds of conversations that are kept before all are forgotten."""
_EMPTY, _TIDY, _BLANKS = range(3)
"""A text is empty, begins and ends with something else than blanks, or does not."""
_Shape = tuple[object, ...]
"""What decides a form: roles, the kind of each text, and whether an answer is open."""
_MESSAGE = frozenset({"role", "content"})


@dataclass(frozen=True, slots=True)
class _Form:
    """Words of a template, with gaps for the texts."""

    parts: tuple[str, ...]
    gaps: tuple[tuple[int, int], ...]
    """Places in `parts`, and the message whose text goes there."""

    def filled(self, texts: Sequence[str]) -> str:
        """The form with texts in its gaps."""
        parts = list(self.parts)
        for place, message in self.gaps:
            parts[place] = texts[message]
        return "".join(parts)


class RenderForms:
    """A template that renders conversations by their forms where it has them.

    Args:
        text: Its source.
        now: What `strftime_now` formats.
        compiled: The same template, for everything else.
    """

    def __init__(self, text: str, now: datetime, compiled: CompiledTemplate) -> None:
        self._text, self._now, self._compiled = text, now, compiled
        self._forms: dict[_Shape, _Form | None] = {}
        self._met: set[_Shape] = set()
        self._traced: jinja2.Template | None = None
        self._can_trace = not compiled.marks_generated

    def render(self, variables: Mapping[str, Any]) -> Rendered:
        """Text and spans of generation blocks, as `CompiledTemplate.render` gives them.

        Raises:
            RenderedTooLargeError: When the template writes too much or takes too long.
            ValueError: When the template refuses, or fails on, these variables.
        """
        messages = variables["messages"]
        shape = self._shape(messages, variables) if self._can_trace else None
        if shape is None:
            return self._compiled.render(variables)
        texts = [message["content"] for message in messages]
        form = self._forms.get(shape)
        if form is not None:
            text = form.filled(texts)
            return (text, ()) if len(text) <= MAX_CHARACTERS else self._compiled.render(variables)
        rendered = self._compiled.render(variables)
        if shape not in self._forms and self._is_known(shape):
            form = self._form(variables)
            is_right = form is not None and form.filled(texts) == rendered[0]
            self._forms[shape] = form if is_right else None
        return rendered

    def _shape(
        self, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]
    ) -> _Shape | None:
        """The shape of a conversation of plain texts; `None` for every other."""
        if variables["tools"] is not None:
            return None
        shape: list[object] = [variables["add_generation_prompt"]]
        for message in messages:
            if message.keys() != _MESSAGE or not isinstance(message["content"], str):
                return None
            shape += (message["role"], _kind(message["content"]))
        return tuple(shape)

    def _is_known(self, shape: _Shape) -> bool:
        """Whether a shape was met before; a form for a single conversation would not pay."""
        if shape in self._met:
            return True
        if len(self._met) == _MOST_SHAPES:
            self._met.clear()
            self._forms.clear()
        self._met.add(shape)
        return False

    def _form(self, variables: Mapping[str, Any]) -> _Form | None:
        constant = (self._text, *variables.values(), *(m["role"] for m in variables["messages"]))
        if any(isinstance(each, str) and _MARK in each for each in constant):
            return None
        if self._traced is None:
            self._traced = traced_template(self._text, self._now)
            self._can_trace = self._traced is not None
        if self._traced is None:
            return None
        messages = [
            {"role": message["role"], "content": _stand_in(i, message["content"])}
            for i, message in enumerate(variables["messages"])
        ]
        try:
            written = self._traced.render({**variables, "messages": messages})
        except (TextReadError, *FAILURES):
            return None
        parts = _STAND_IN.split(written)
        gaps = tuple((i, int(parts[i])) for i in range(1, len(parts), 2))
        return _Form(tuple(parts), gaps)


def _kind(text: str) -> int:
    if not text:
        return _EMPTY
    return _BLANKS if text[0].isspace() or text[-1].isspace() else _TIDY


_MARK: Final = "\ue000"
"""A private character, which no published template uses."""
_STAND_IN: Final = re.compile(f"{_MARK}([0-9]+){_MARK}")


def _stand_in(index: int, text: str) -> str:
    return UnreadText.of(f"{_MARK}{index}{_MARK}", (_kind(text) == _TIDY,) * 2) if text else ""
