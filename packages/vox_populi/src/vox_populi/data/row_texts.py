"""Every text of a row that a template may write into what a model reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from vox_tensor.records import Message, Role, TrainingRecord


def row_texts(record: TrainingRecord) -> Iterator[str]:
    """Contents, names, reasoning, tool calls and definitions; a text may be empty."""
    for message in record.messages:
        yield from message_texts(message)
        if message.name is not None:
            yield message.name
    if record.tools:
        yield json.dumps(record.tools, ensure_ascii=False)


def message_texts(message: Message) -> Iterator[str]:
    """What the author of a message wrote: content, reasoning and calls."""
    yield message.content
    if message.extras is None:
        return
    yield message.reasoning or ""
    for call in message.tool_calls:
        yield call.name
        yield json.dumps(call.arguments, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class RowSizes:
    """Characters of a row."""

    everything: int
    answers: int
    """What assistants wrote."""
    learned: int
    """What of that is learned."""


def row_sizes(record: TrainingRecord) -> RowSizes:
    """The characters of a row: contents, reasoning, calls and definitions of tools."""
    answers = learned = 0
    everything = len(json.dumps(record.tools, ensure_ascii=False)) if record.tools else 0
    for message in record.messages:
        size = sum(map(len, message_texts(message)))
        everything += size
        if message.role is Role.ASSISTANT:
            answers += size
            learned += size * message.learn
    return RowSizes(everything, answers, learned)
