"""Continuing a prompt, token by token."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch

from vox_populi.errors import RunFailedError
from vox_populi.infer.cached_model import CachedModel
from vox_populi.infer.sampling import SamplingSpec, choose_token
from vox_populi.operator_messages import run as say


class StopReason(StrEnum):
    """Why a generation ended."""

    STOP_TOKEN = "stop_token"
    LENGTH = "length"
    CONTEXT = "context"
    """The model has no more positions."""


@dataclass(frozen=True, slots=True)
class Generated:
    """New ids, without the stop token."""

    ids: tuple[int, ...]
    stop_reason: StopReason


def generate_ids(
    model: CachedModel,
    prompt_ids: Sequence[int],
    *,
    max_new_tokens: int,
    stop_ids: Collection[int],
    sampling: SamplingSpec,
    on_token: Callable[[int], None] | None = None,
) -> Generated:
    """Continue `prompt_ids`.

    Args:
        model: Tokens of the prompt that it has already read are not computed again.
        prompt_ids: Non-empty, with room for at least one token after them.
        max_new_tokens: Limit if no stop token comes first.
        stop_ids: Ids that end the text and are not part of it.
        sampling: How to choose.
        on_token: Called with each new id as soon as it is chosen.

    Raises:
        RunFailedError: When the model's scores are not finite.
        ValueError: For an empty prompt, or one that fills the model's positions.
    """
    limit = model.config.max_positions
    if not 0 < len(prompt_ids) < limit:
        message = f"a prompt has 1 to {limit - 1} tokens here, this one has {len(prompt_ids)}"
        raise ValueError(message)
    generator = torch.Generator().manual_seed(sampling.seed)
    ids = list(prompt_ids)
    reason = StopReason.LENGTH
    for _ in range(max_new_tokens):
        if len(ids) == limit:
            reason = StopReason.CONTEXT
            break
        scores_V = model.next_logits(ids)
        if not bool(torch.isfinite(scores_V).all()):
            raise RunFailedError(say.scores_not_finite())
        token = choose_token(scores_V, ids, sampling, generator)
        if token in stop_ids:
            reason = StopReason.STOP_TOKEN
            break
        ids.append(token)
        if on_token is not None:
            on_token(token)
    return Generated(tuple(ids[len(prompt_ids) :]), reason)
