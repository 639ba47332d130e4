"""What a model thought of the tokens it could choose from: log-probabilities.

Shape letter: V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A chosen token."""

    id: int
    logprob: float
    """Natural logarithm of its probability."""
    top: tuple[tuple[int, float], ...] = ()
    """The most likely tokens with theirs, best first."""


def score_token(scores_V: Tensor, token: int, n_top: int) -> TokenScore:
    """The log-probability of a token under the model alone: before penalties and temperature.

    Args:
        scores_V: The model's scores.
        token: The chosen id.
        n_top: How many of the most likely tokens to list.
    """
    logprobs_V = scores_V.float().log_softmax(-1)
    best = logprobs_V.topk(min(n_top, logprobs_V.shape[-1]))
    top = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return TokenScore(token, float(logprobs_V[token]), tuple(top))
