"""Continuing a prompt, token by token. Each step runs the whole sequence again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch

from vox_populi.infer.sampling import SamplingSpec, choose_token
from vox_populi.model.transformer import Transformer
from vox_tensor.collate import collate_window
from vox_tensor.records import IGNORE_INDEX, EncodedRow


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


@torch.no_grad()
def generate_ids(
    model: Transformer,
    prompt_ids: Sequence[int],
    *,
    max_new_tokens: int,
    stop_ids: Collection[int],
    sampling: SamplingSpec,
) -> Generated:
    """Continue `prompt_ids`; dropout is off while it runs.

    Raises:
        ValueError: For an empty prompt, or one that fills the model's positions.
    """
    limit = model.config.max_positions
    if not 0 < len(prompt_ids) < limit:
        message = f"a prompt has 1 to {limit - 1} tokens here, this one has {len(prompt_ids)}"
        raise ValueError(message)
    generator = torch.Generator().manual_seed(sampling.seed)
    ids = list(prompt_ids)
    was_training = model.training
    model.eval()
    reason = StopReason.LENGTH
    for _ in range(max_new_tokens):
        if len(ids) == limit:
            reason = StopReason.CONTEXT
            break
        token = choose_token(next_logits(model, ids), sampling, generator)
        if token in stop_ids:
            reason = StopReason.STOP_TOKEN
            break
        ids.append(token)
    model.train(was_training)
    return Generated(tuple(ids[len(prompt_ids) :]), reason)


def next_logits(model: Transformer, ids: Sequence[int]) -> torch.Tensor:
    """Scores `[V]` of the token after `ids`, on the CPU."""
    row = EncodedRow(tuple(ids), (IGNORE_INDEX,) * len(ids))
    device = model.embed.weight.device
    batch = collate_window([row], device)
    last_P = torch.tensor([len(ids) - 1], device=device)
    return model.logits(batch, last_P)[0].cpu()
