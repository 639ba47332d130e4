"""A model that remembers what it has read, so that a longer text costs only its new tokens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import torch
from torch import Tensor

from vox_populi.hf.model_config import ModelConfig
from vox_populi.model.causal_graph import CausalGraph
from vox_tensor.collate import collate_continuation


class CachedModel:
    """A transformer for inference, with dropout turned off.

    `next_logits` depends only on its ids: the cache only decides how much has to be computed.
    Not safe for two threads at once.
    """

    def __init__(self, model: CausalGraph) -> None:
        self._model = model.eval()
        self._cache = model.new_cache()
        self._ids: list[int] = []
        self._is_long = False
        """Whether the cached tokens were rotated as part of a long text."""

    @property
    def config(self) -> ModelConfig:
        """The model's config."""
        return self._model.config

    @torch.inference_mode()
    def next_logits(self, ids: Sequence[int]) -> Tensor:
        """Scores `[V]` of the token after `ids`, on the CPU.

        Raises:
            ValueError: If there are no ids.
        """
        if not ids:
            message = "there is nothing to continue"
            raise ValueError(message)
        rope, was_long = self.config.rope, self._is_long
        self._is_long = rope is not None and rope.is_long(len(ids))
        # The last id is always read, since its scores are asked for. Under LongRoPE a text that
        # outgrows the original context rotates all its keys anew.
        is_usable = self._is_long == was_long
        known = _common_start(self._ids, ids, len(ids) - 1) if is_usable else 0
        # What an interrupted pass left in some layers goes too.
        known = self._cache.truncate(known)
        self._ids = self._ids[:known]
        device = self._model.device
        batch = collate_continuation(ids[known:], known, device)
        last_P = torch.full((1,), batch.n_tokens - 1, device=device)
        scores_V = self._model.logits(batch, last_P, self._cache)[0].cpu()
        self._ids.extend(ids[known:])
        return scores_V


def _common_start(held: Sequence[int], ids: Sequence[int], limit: int) -> int:
    """Length of the common prefix, at most `limit`."""
    longest = min(len(held), limit)
    if list(held[:longest]) == list(ids[:longest]):
        return longest
    return next(i for i in count() if held[i] != ids[i])
