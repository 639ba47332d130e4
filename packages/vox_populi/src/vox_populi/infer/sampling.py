"""Choosing the next token from its scores: penalties, temperature, top-k, top-p.

Shape letter: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vox_populi.infer.sampling_spec import SamplingSpec

__all__ = ["SamplingSpec", "choose_token", "keep_likely", "penalise_new", "penalise_repetition"]


def choose_token(
    logits_V: Tensor,
    ids: Sequence[int],
    spec: SamplingSpec,
    generator: torch.Generator,
    new_ids: Sequence[int] = (),
) -> int:
    """The id after `ids`. Ties of a greedy choice go to the lowest id.

    Args:
        logits_V: The model's scores.
        ids: The text so far, with its prompt.
        spec: How to choose.
        generator: The text's random stream.
        new_ids: Those of `ids` that are not of the prompt; only they are penalised for being there
            and for how often.
    """
    if spec.repetition_penalty != 1:
        logits_V = penalise_repetition(logits_V.float(), ids, spec.repetition_penalty)
    if new_ids and (spec.presence_penalty or spec.frequency_penalty):
        logits_V = penalise_new(logits_V.float(), new_ids, spec)
    if spec.temperature == 0:
        return int(logits_V.argmax())
    scores_V = keep_likely(logits_V.float() / spec.temperature, spec)
    return int(torch.multinomial(scores_V.softmax(-1), 1, generator=generator))


def penalise_repetition(scores_V: Tensor, ids: Sequence[int], penalty: float) -> Tensor:
    """Scores with all `ids` made less likely, once each, however often an id occurs."""
    seen = torch.tensor(ids, dtype=torch.int64).unique()
    held = scores_V[seen]
    return scores_V.index_copy(0, seen, torch.where(held > 0, held / penalty, held * penalty))


def penalise_new(scores_V: Tensor, new_ids: Sequence[int], spec: SamplingSpec) -> Tensor:
    """Scores less a penalty for each id that was generated, and one for each time it was.

    As OpenAI's API defines `presence_penalty` and `frequency_penalty`.
    """
    counts_V = torch.bincount(torch.tensor(new_ids), minlength=scores_V.shape[-1])
    presence_V = (counts_V > 0) * spec.presence_penalty
    return scores_V - presence_V - counts_V * spec.frequency_penalty


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
