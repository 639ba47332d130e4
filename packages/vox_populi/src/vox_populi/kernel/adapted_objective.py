"""A frozen model with adapters, as the engine sees it; every kernel returns one.

Whether the base under the adapters is dense or quantised is up to the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from vox_populi.model.causal_graph import CausalGraph
from vox_populi.model.lora_transformer import (
    adapter_parameters,
    adapter_tensors,
    load_adapter_tensors,
)
from vox_populi.model.proxy_stack import ProxyStack
from vox_populi.model.transformer import Transformer
from vox_populi.plan.execution_planner import ExecutionPlan
from vox_populi.train.batches import pack_batches, pack_windows
from vox_populi.train.seeds import NoiseKey, Stream, stream_generator
from vox_tensor.collate import PackedBatch
from vox_tensor.lora import LoraLinear, adapters_off
from vox_tensor.nf4_weight import DensePool
from vox_tensor.packing import distinct_tokens
from vox_tensor.records import EncodedRow

"""Torch dtypes of a plan's compute dtypes."""

_Model = TypeVar("_Model", Transformer, CausalGraph, ProxyStack)


class AdaptedObjective(Generic[_Model]):
    """Adapters that learn on a model that does not (`train.objective.Objective`).

    Args:
        model: Frozen; its adapted layers are those of `adapted`.
        adapted: The layers that learn, by our module name, in forward order.
        pool: Holds the dense copies of a quantised base; `None` for a dense one.
        noise: What dropout masks depend on; `None` draws them one after the other.
        share_prefixes: Compute once what rows begin with alike.
    """

    def __init__(
        self,
        model: _Model,
        adapted: Mapping[str, LoraLinear],
        pool: DensePool | None = None,
        noise: NoiseKey | None = None,
        *,
        share_prefixes: bool = False,
    ) -> None:
        self.model: _Model = model
        self.adapted = adapted
        self.pool = pool
        self.share_prefixes = share_prefixes
        self.noise = noise
        if noise is not None:
            for number, layer in enumerate(adapted.values()):
                layer.dropout_seed = partial(noise.of_layer, number)

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.model.device

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """A and B of every adapted layer, in forward order."""
        return adapter_parameters(self.adapted)

    def streams(self) -> Mapping[str, torch.Generator]:
        """The random stream for dropout masks, shared by all adapted layers."""
        layers = self.adapted.values()
        dropout = next((layer.dropout_generator for layer in layers), None)
        return {} if dropout is None else {Stream.DROPOUT.value: dropout}

    def loss_sums(self, rows: Sequence[EncodedRow], window_tokens: int) -> Iterator[Tensor]:
        """Pack the rows into windows, and sum the weighted cross entropies of each."""
        packed = pack_batches(rows, window_tokens, self.device, share_prefixes=self.share_prefixes)
        for batch in packed:
            yield self.loss_sum(batch)

    def saved_tokens(self, rows: Sequence[EncodedRow], window_tokens: int) -> int:
        """Tokens of the rows that `loss_sums` does not compute, since other rows have them too."""
        if not self.share_prefixes:
            return 0
        windows = pack_windows(rows, window_tokens, share_prefixes=True)
        return sum(map(len, rows)) - distinct_tokens(windows)

    def normaliser(self, rows: Sequence[EncodedRow]) -> float:
        """The weights of all supervised tokens; without weights, their number."""
        return sum(row.weight * row.n_supervised for row in rows)

    def loss_sum(self, batch: PackedBatch) -> Tensor:
        """Sum of the weighted cross entropies of the batch's supervised tokens."""
        return self.model.loss_sum(batch)

    def key_noise(self, step: int, number: int) -> None:
        """Let dropout of the passes to come depend on nothing but the seed and these."""
        if self.noise is not None:
            self.noise.step, self.noise.number = step, number

    def set_training(self, *, active: bool) -> None:
        """Turn dropout on or off; off also means that no backward pass will follow."""
        self.model.train(active)
        if self.pool is not None:
            self.pool.expects_backward = active

    def adapters_off(self) -> AbstractContextManager[None]:
        """A block in which the model is its base, bit for bit."""
        return adapters_off(self.adapted.values())

    def snapshot(self) -> dict[str, Tensor]:
        """Float32 CPU copies of all A and B."""
        return adapter_tensors(self.adapted)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put a snapshot back."""
        load_adapter_tensors(self.adapted, tensors)


def adapter_streams(plan: ExecutionPlan) -> tuple[torch.Generator, torch.Generator]:
    """A plan's random streams, at their start: for A's initial values and for dropout masks."""
    return (
        stream_generator(plan.seed, Stream.INIT),
        stream_generator(plan.seed, Stream.DROPOUT, device=plan.device),
    )
