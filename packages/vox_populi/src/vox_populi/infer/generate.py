"""Continuing a prompt, token by token."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from vox_populi.infer.cached_model import CachedModel
from vox_populi.infer.continuation import Continuation, ContinuationLimits, StopReason
from vox_populi.infer.sampling import SamplingSpec


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
    limits = ContinuationLimits(
        max_new_tokens=max_new_tokens,
        max_positions=model.config.max_positions,
        stop_ids=stop_ids,
    )
    text = Continuation(prompt_ids, limits, sampling)
    while text.stop_reason is None:
        token = text.take(model.next_logits(text.ids))
        if token is not None and on_token is not None:
            on_token(token)
    return Generated(text.new_ids, text.stop_reason)
