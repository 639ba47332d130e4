"""LoRA on frozen full-precision bases: the full causal graph (wire name `burn_lora`).

f32 bases on CPU and Metal, bf16 on CUDA by default; no quantisation happens here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from vox_populi.hf.inventory import ModelInventory
from vox_populi.model.hf_load import load_base
from vox_populi.model.lora_transformer import (
    adapter_tensors,
    attach_adapters,
    load_adapter_tensors,
)
from vox_populi.model.transformer import Transformer
from vox_populi.plan.execution_planner import ExecutionPlan
from vox_populi.train.seeds import Stream, stream_generator
from vox_tensor.collate import PackedBatch
from vox_tensor.lora import LoraLinear

TORCH_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class LoraFullObjective:
    """A frozen transformer with adapters, as the engine sees it (`train.objective.Objective`)."""

    def __init__(self, model: Transformer, adapted: Mapping[str, LoraLinear]) -> None:
        self.model = model
        self.adapted = adapted

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.embed.weight.device

    def parameters(self) -> Sequence[nn.Parameter]:
        """A and B of every adapted layer, in forward order."""
        return [p for layer in self.adapted.values() for p in (layer.a_RI, layer.b_OR)]

    def streams(self) -> Mapping[str, torch.Generator]:
        """The stream of dropout masks, which all adapted layers share."""
        layers = self.adapted.values()
        dropout = next((layer.dropout_generator for layer in layers), None)
        return {} if dropout is None else {Stream.DROPOUT.value: dropout}

    def loss_sum(self, batch: PackedBatch) -> Tensor:
        """Sum of the cross entropies of the batch's supervised tokens."""
        return self.model.loss_sum(batch)

    def set_training(self, *, active: bool) -> None:
        """Turn dropout on or off."""
        self.model.train(active)

    def snapshot(self) -> dict[str, Tensor]:
        """Float32 CPU copies of all A and B."""
        return adapter_tensors(self.adapted)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put a snapshot back."""
        load_adapter_tensors(self.adapted, tensors)


def build_lora_full(plan: ExecutionPlan, inventory: ModelInventory) -> LoraFullObjective:
    """Load the base the plan names and attach fresh adapters to the plan's modules."""
    model = load_base(inventory, TORCH_DTYPES[plan.compute_dtype], plan.device)
    adapted = attach_adapters(
        model,
        plan.adapters,
        plan.lora,
        stream_generator(plan.seed, Stream.INIT),
        stream_generator(plan.seed, Stream.DROPOUT, device=plan.device),
    )
    return LoraFullObjective(model, adapted)
