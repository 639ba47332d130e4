"""What a model thinks of a text that somebody else wrote. No torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ForcedToken:
    """A token of the text, beside the one that the model would have taken in its place."""

    logprob: float
    """Natural logarithm of its probability."""
    best_id: int
    best_logprob: float

    @property
    def gap(self) -> float:
        """How much less likely it is than the most likely one; 0 if it is as likely."""
        return self.best_logprob - self.logprob


@dataclass(frozen=True, slots=True, kw_only=True)
class ForcedText:
    """A text after a prompt, and what the model would do after it."""

    tokens: tuple[ForcedToken, ...]
    next_logprob: float
    """The best log-probability after the text."""
    stop_logprob: float
    """The best one of the tokens that end a text."""
