"""Choosing the next token from its scores: repetition penalty, temperature, top-k, top-p.

Shape letter: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingSpec:
    """How to choose.

    Raises:
        ValueError: For a negative temperature or top_k, a top_p outside (0, 1], or a repetition
            penalty that is not positive.
    """

    temperature: float = 0.0
    """0 chooses the most likely token; otherwise scores are divided by it before sampling."""
    top_k: int = 0
    """Keep the k most likely tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the smallest set of tokens whose probabilities reach this sum (nucleus sampling,
    Holtzman et al. 2019, arXiv 1904.09751)."""
    repetition_penalty: float = 1.0
    """Scores of tokens already in the text are divided by it if positive and multiplied if
    negative, also in greedy decoding (CTRL, Keskar et al. 2019, arXiv 1909.05858)."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0 or self.top_k < 0:
            message = "temperature and top_k must not be negative"
            raise ValueError(message)
        if not 0 < self.top_p <= 1:
            message = f"top_p must be in (0, 1], got {self.top_p}"
            raise ValueError(message)
        if not self.repetition_penalty > 0:
            message = f"repetition_penalty must be positive, got {self.repetition_penalty}"
            raise ValueError(message)


def choose_token(
    logits_V: Tensor, ids: Sequence[int], spec: SamplingSpec, generator: torch.Generator
) -> int:
    """The id after `ids`. Ties of a greedy choice go to the lowest id."""
    if spec.repetition_penalty != 1:
        logits_V = penalise_repetition(logits_V.float(), ids, spec.repetition_penalty)
    if spec.temperature == 0:
        return int(logits_V.argmax())
    scores_V = keep_likely(logits_V.float() / spec.temperature, spec)
    return int(torch.multinomial(scores_V.softmax(-1), 1, generator=generator))


def penalise_repetition(scores_V: Tensor, ids: Sequence[int], penalty: float) -> Tensor:
    """Scores with all `ids` made less likely, once each, however often an id occurs."""
    seen = torch.tensor(ids, dtype=torch.int64).unique()
    held = scores_V[seen]
    return scores_V.index_copy(0, seen, torch.where(held > 0, held / penalty, held * penalty))


def keep_likely(scores_V: Tensor, spec: SamplingSpec) -> Tensor:
    """Scores with everything outside top-k, then outside top-p, set to minus infinity."""
    if 0 < spec.top_k < scores_V.shape[-1]:
        floor = scores_V.topk(spec.top_k).values[-1]
        scores_V = scores_V.masked_fill(scores_V < floor, -torch.inf)
    if spec.top_p < 1:
        sorted_V, order_V = scores_V.sort(descending=True, stable=True)
        p_V = sorted_V.softmax(-1)
        # A token goes when those before it already reach the sum; the first always stays.
        drop_V = (p_V.cumsum(-1) - p_V) >= spec.top_p
        scores_V = scores_V.masked_fill(
            torch.zeros_like(drop_V).scatter(0, order_V, drop_V), -torch.inf
        )
    return scores_V
