"""The shapes of a training row: messages before tokenising, ids and labels after it."""

from __future__ import annotations

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
class Message:
    """One turn of a conversation."""

    role: Role
    content: str
    learn: bool = True
    """Only assistant messages with `learn` are supervised (OpenAI's `weight` 0 or 1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """One row of a corpus, whatever format it was written in."""

    messages: tuple[Message, ...]
    line: int
    """Line number in its file, from 1."""
    rating: float | None = None
    """1 to 5; `None` is unrated and passes every rating floor."""
    category: str | None = None
    lane: str | None = None
    source: str | None = None
    weight: float = 1.0
    """How much its learned tokens count in the loss, beside those of other rows."""
    ignored: tuple[str, ...] = ()
    """Keys of labels whose value could not be used."""


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
