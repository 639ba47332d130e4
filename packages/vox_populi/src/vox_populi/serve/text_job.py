"""One text that a request asks for, and what it hears of it. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from vox_populi.infer.sampling_spec import SamplingSpec
from vox_tensor.errors import Problem


class ScoredToken(Protocol):
    """A chosen token with its log-probability (`infer.token_scores.TokenScore`)."""

    @property
    def id(self) -> int:
        """The token."""

    @property
    def logprob(self) -> float:
        """Natural logarithm of its probability."""

    @property
    def top(self) -> tuple[tuple[int, float], ...]:
        """The most likely tokens with theirs, best first."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A new token, with the text that is certain since it came."""

    text: str
    score: ScoredToken | None = None
    """If it was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The end of a text."""

    text: str
    """What was still held back."""
    stop_reason: str
    """`stop_token`, `stop_text`, `length` or `context`."""
    stop_text: str | None = None
    """The string that ended it, which is not part of the text."""
    ids: tuple[int, ...] = ()
    """All new ids, without a stop token."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A text that cannot be continued."""

    problem: Problem
    is_late: bool = False
    """Whether it ran out of time."""


TextEvent = Piece | Ended | Failed
STOP_TEXT = "stop_text"


@dataclass(slots=True, eq=False, kw_only=True)
class TextJob:
    """A text to generate; one choice of a request."""

    model: str
    prompt_ids: Sequence[int]
    max_new_tokens: int
    sampling: SamplingSpec
    deadline: float
    """When it is given up, by `time.monotonic`."""
    on_event: Callable[[TextEvent], None]
    """Called in the model's thread with each piece, then once with its end; never waits."""
    stops: tuple[str, ...] = ()
    """Strings that end the text and are not part of it."""
    stop_ids: frozenset[int] = frozenset()
    """Ids that end it, besides those of the model."""
    n_top: int | None = None
    """How many of the most likely tokens come with each; `None`: no log-probabilities."""
    is_cancelled: bool = field(default=False, init=False)
    """Set when nobody waits for it; nothing is called any more."""
