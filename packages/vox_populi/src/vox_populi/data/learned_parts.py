"""Which parts of a conversation are learned, beyond what its messages say themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from vox_tensor.records import EncodedRow, Message, Role, TrainingRecord


class LearnedParts(StrEnum):
    """What is learned of a row."""

    ANSWERS = "answers"
    """Every message of the assistant with `learn`."""
    LAST = "last"
    """Only the last one of these."""
    ALL = "all"
    """Every token of the text: prompts and markers too, whatever the messages say."""


def learned_messages(record: TrainingRecord, parts: LearnedParts) -> TrainingRecord:
    """The record with `learn` only on the messages that an encoder must find in its text.

    With `ALL` that is none of them: `fully_learned` marks the whole text afterwards.
    """
    if parts is LearnedParts.ANSWERS or record.is_text:
        return record
    learned = [i for i, message in enumerate(record.messages) if is_learned(message)]
    kept = learned[-1:] if parts is LearnedParts.LAST else []
    if learned == kept:
        return record
    messages = tuple(
        replace(message, learn=i in kept) if i in learned else message
        for i, message in enumerate(record.messages)
    )
    return replace(record, messages=messages)


def answers_of(record: TrainingRecord) -> tuple[TrainingRecord, ...]:
    """Each learned answer with everything before it, of which nothing else is learned."""
    ends = (i + 1 for i, each in enumerate(record.messages) if is_learned(each))
    return tuple(replace(record, messages=_last_learned(record.messages[:end])) for end in ends)


def _last_learned(messages: Sequence[Message]) -> tuple[Message, ...]:
    return (*(replace(each, learn=False) for each in messages[:-1]), messages[-1])


def fully_learned(row: EncodedRow) -> EncodedRow:
    """The row with a label on each of its tokens."""
    return replace(row, labels=row.ids)


def is_learned(message: Message) -> bool:
    """Whether a message is supervised."""
    return message.role is Role.ASSISTANT and message.learn
