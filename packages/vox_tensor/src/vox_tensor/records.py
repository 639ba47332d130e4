"""The shapes of a training row: messages before tokenising, ids and labels after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

IGNORE_INDEX = -100
"""Label of a token that is not learned; the value torch and transformers use."""


class Role(StrEnum):
    """The author of a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that an assistant asks to be called."""

    name: str
    arguments: Mapping[str, object]
    """Arguments by name, as JSON values."""
    id: str | None = None
    """What the answer of the tool refers to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageExtras:
    """What few messages have. Kept apart, so that a million ordinary ones stay small."""

    tool_calls: tuple[ToolCall, ...] = ()
    """Calls by an assistant."""
    tool_call_id: str | None = None
    """The call that a tool answers."""
    name: str | None = None
    """Name of the author: of the tool, or of a participant."""
    reasoning: str | None = None
    """What an assistant thought before its answer."""
    is_developer: bool = False
    """Whether a system message was written under the role `developer`."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str
    """Empty for an assistant that only calls tools."""
    learn: bool = True
    """Only assistant messages with `learn` are supervised (OpenAI's `weight` 0 or 1)."""
    extras: MessageExtras | None = None

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """Calls by an assistant."""
        return () if self.extras is None else self.extras.tool_calls

    @property
    def tool_call_id(self) -> str | None:
        """The call that a tool answers."""
        return None if self.extras is None else self.extras.tool_call_id

    @property
    def name(self) -> str | None:
        """Name of the author."""
        return None if self.extras is None else self.extras.name

    @property
    def reasoning(self) -> str | None:
        """What an assistant thought before its answer."""
        return None if self.extras is None else self.extras.reasoning

    @property
    def is_developer(self) -> bool:
        """Whether a system message was written under the role `developer`."""
        return self.extras is not None and self.extras.is_developer


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """One row of a corpus, whatever format it was written in."""

    messages: tuple[Message, ...]
    """The turns; for a text without turns, one message of the assistant."""
    line: int
    """Line number in its file, from 1."""
    rating: float | None = None
    """1 to 5; `None` is unrated and passes every rating floor."""
    category: str | None = None
    lane: str | None = None
    source: str | None = None
    difficulty: float | None = None
    """1 (easy) to 10; `None` is not graded."""
    weight: float = 1.0
    """How much its learned tokens count in the loss, beside those of other rows."""
    ignored: tuple[str, ...] = ()
    """Keys of labels whose value could not be used."""
    tools: tuple[Mapping[str, object], ...] = ()
    """Definitions of the tools that can be called: `{"type": "function", "function": {...}}`."""
    is_text: bool = False
    """Whether the row is a text without turns, which is learned whole and without a template."""
    with_calls: TrainingRecord | None = None
    """The same row with real tool calls, for a template that has tools."""


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """A tokenised row.

    `labels[i]` is `ids[i]` if that token is learned and `IGNORE_INDEX` otherwise: labels
    are not shifted (transformers' convention). The token at `i` is predicted from `i - 1`,
    so a label at position 0 can never be learned.
    """

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    line: int = 0
    weight: float = 1.0
    """How much each supervised token counts in the loss, beside those of other rows."""
    difficulty: float | None = None
    """1 (easy) to 10, for the order of an epoch; `None` is not graded."""

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.labels):
            message = f"{len(self.ids)} ids but {len(self.labels)} labels"
            raise ValueError(message)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def n_supervised(self) -> int:
        """Number of tokens that contribute to the loss."""
        learnable = self.labels[1:]
        return len(learnable) - learnable.count(IGNORE_INDEX)
