"""Conversations to ask a server and us: of rows, or built in. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vox_populi.evals.server_client import Json
from vox_tensor.records import Message, Role, TrainingRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeChat:
    """A conversation up to where an answer starts."""

    name: str
    """The place of the row, or what a built-in one is about."""
    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, object], ...] = ()

    def as_json(self) -> Json:
        """`messages`, and `tools` if there are any, as requests have them."""
        chat: Json = {"messages": [_message_json(each) for each in self.messages]}
        return {**chat, "tools": [dict(each) for each in self.tools]} if self.tools else chat


def _of(name: str, *turns: tuple[Role, str]) -> ProbeChat:
    messages = tuple(Message(role, text) for role, text in turns)
    return ProbeChat(name=name, messages=messages)


_SHORT = "Answer with one word: what is the capital of France?"
BUILT_IN = (
    _of("a question", (Role.USER, _SHORT)),
    _of("a request", (Role.USER, "Reverse a string in Python.")),
    _of("a system message", (Role.SYSTEM, "Answer in one sentence."), (Role.USER, "What is rain?")),
    _of(
        "a second question",
        (Role.USER, "Name a colour."),
        (Role.ASSISTANT, "Blue."),
        (Role.USER, "Name another one."),
    ),
    _of("blanks and other letters", (Role.USER, "  Say hello:\n\n\tGrüße, 你好, 👋  ")),
    _of("code", (Role.USER, "What does this print?\n\n```python\nprint(len('abc'))\n```\n")),
)
"""Each about something that layouts differ in."""


def probe_of_row(record: TrainingRecord, place: str) -> ProbeChat | None:
    """A row up to its last answer; `None` for a row that asks nothing."""
    if record.is_text:
        return None
    answers = [i for i, each in enumerate(record.messages) if each.role is Role.ASSISTANT]
    asked = record.messages[: answers[-1]] if answers else record.messages
    return ProbeChat(name=place, messages=asked, tools=record.tools) if asked else None


def _message_json(message: Message) -> Json:
    role = "developer" if message.is_developer else message.role.value
    turn: dict[str, Any] = {"role": role, "content": message.content}
    if message.name is not None:
        turn["name"] = message.name
    if message.reasoning is not None:
        turn["reasoning_content"] = message.reasoning
    if message.tool_call_id is not None:
        turn["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        turn["tool_calls"] = [
            {
                "id": call.id or f"call_{i}",
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(dict(call.arguments))},
            }
            for i, call in enumerate(message.tool_calls)
        ]
    return turn
