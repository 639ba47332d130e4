"""Adapters of experts in PEFT's form for tensors with all experts of a layer, `target_parameters`.

Of N experts A is `[N R, I]`, one after the other, and B `[O, R N]`, in which the number of the
expert runs fastest (PEFT 0.21, `ParamWrapper`). Gate and up that share a tensor share its adapter,
of twice the rank: their A on each other, their B in the blocks of a diagonal. Each tensor wraps the
one before it, whose names have `base_layer`.
Shape letters: N experts, R rank, I input features, O output features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vox_populi.adapters.peft.config import PEFT_PREFIX
from vox_populi.hf.experts_place import ExpertPart, ExpertsPlace
from vox_populi.hf.keymap import AdapterModule
from vox_populi.hf.model_config import ModelConfig

_WRAPPED = "base_layer."


@dataclass(frozen=True, slots=True)
class StackedExperts:
    """What a PEFT folder says of experts."""

    ranks: Mapping[str, int]
    """Rank by the end of a tensor's path."""
    tensors: Mapping[str, Tensor]
    """The tensors, by their names in the container."""


def stacked_experts(
    config: ModelConfig,
    modules: Sequence[AdapterModule],
    tensors: Mapping[str, Tensor],
    rank: int,
) -> StackedExperts:
    """The adapters of all experts among some modules.

    Args:
        config: The base's config; `names_tensors` of it.
        modules: The adapted projections; of a role all experts' or none.
        tensors: Their A and B, by our names.
        rank: Their rank.
    """
    assert config.modules is not None, "transformers computes it"
    adapted = {module.ours for module in modules if module.in_expert}
    ranks: dict[str, int] = {}
    found: dict[str, Tensor] = {}
    for place in config.modules.experts:
        chosen = {
            tensor: parts
            for tensor, parts in place.tensors.items()
            if f"{place.ours}.0.{parts[0].name}" in adapted
        }
        stem = f"{PEFT_PREFIX}{place.path}."
        for depth, (tensor, parts) in enumerate(reversed(chosen.items())):
            ranks[f"{place.path.rpartition('.')[2]}.{tensor}"] = rank * len(parts)
            a_stacked, b_stacked = _stacked(place, parts, tensors, rank)
            found[f"{stem}{_WRAPPED * depth}lora_A.weight"] = a_stacked
            found[f"{stem}{_WRAPPED * depth}lora_B.weight"] = b_stacked
    return StackedExperts(ranks, found)


def _stacked(
    place: ExpertsPlace, parts: Sequence[ExpertPart], tensors: Mapping[str, Tensor], rank: int
) -> tuple[Tensor, Tensor]:
    """A and B of one tensor."""
    every_a, every_b = [], []
    for expert in range(place.count):
        names = [f"{place.ours}.{expert}.{part.name}" for part in parts]
        every_a.append(torch.cat([tensors[f"{name}.lora_A"] for name in names]))
        every_b.append(torch.block_diag(*(tensors[f"{name}.lora_B"] for name in names)))
    b_ORN = torch.stack(every_b, dim=2)
    return torch.cat(every_a), b_ORN.reshape(b_ORN.shape[0], rank * len(parts) * place.count)
