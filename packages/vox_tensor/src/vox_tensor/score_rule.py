"""What becomes of the product of a query and a key before the softmax. No torch here."""

from __future__ import annotations

from typing import NamedTuple


class ScoreRule(NamedTuple):
    """Scores are `scale * q @ k`, or `cap * tanh(scale * q @ k / cap)` with a soft cap."""

    scale: float
    window: int | None = None
    """A token sees itself and `window - 1` tokens of its row before it; `None` for all."""
    cap: float | None = None
