"""Reading a text with a model, as it was written, and scoring each of its tokens.

Shape letters: T tokens, P scored positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from vox_populi.infer.forced_text import ForcedText, ForcedToken
from vox_populi.model.causal_graph import CausalGraph
from vox_tensor.collate import collate_continuation


def force_text(
    model: CausalGraph, prompt_ids: Sequence[int], ids: Sequence[int], stop_ids: Collection[int]
) -> ForcedText:
    """Score `ids` after a prompt, in one pass, and what would follow.

    Args:
        model: In evaluation mode.
        prompt_ids: Non-empty; together with `ids` at most the model's positions.
        ids: The text.
        stop_ids: Ids that end a text; non-empty.

    Raises:
        ValueError: For an empty prompt.
    """
    logprobs_PV = _logprobs(model, [*prompt_ids, *ids], len(prompt_ids))
    return ForcedText(
        tokens=_scored(logprobs_PV, ids),
        next_logprob=float(logprobs_PV[-1].max()),
        stop_logprob=float(logprobs_PV[-1, sorted(stop_ids)].max()),
    )


def force_ids(
    model: CausalGraph, prompt_ids: Sequence[int], ids: Sequence[int]
) -> tuple[ForcedToken, ...]:
    """Score `ids` after a prompt, in one pass; the last id needs no position.

    Args:
        model: In evaluation mode.
        prompt_ids: Non-empty.
        ids: Non-empty.

    Raises:
        ValueError: For an empty prompt.
    """
    return _scored(_logprobs(model, [*prompt_ids, *ids[:-1]], len(prompt_ids)), ids)


@torch.inference_mode()
def _logprobs(model: CausalGraph, ids: Sequence[int], n_prompt: int) -> Tensor:
    """Log-probabilities `[P, V]` after the prompt, and after each id that follows it."""
    if n_prompt < 1:
        message = "a text is scored after at least one token"
        raise ValueError(message)
    device = model.device
    batch = collate_continuation(ids, 0, device)
    # The scores of a token are those that the token before it gives.
    keep_P = torch.arange(n_prompt - 1, batch.n_tokens, device=device)
    return model.logits(batch, keep_P).float().log_softmax(-1).cpu()


def _scored(logprobs_PV: Tensor, ids: Sequence[int]) -> tuple[ForcedToken, ...]:
    best = logprobs_PV.max(-1)
    return tuple(
        ForcedToken(
            float(logprobs_PV[place, token]),
            int(best.indices[place]),
            float(best.values[place]),
        )
        for place, token in enumerate(ids)
    )
