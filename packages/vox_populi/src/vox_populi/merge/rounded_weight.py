"""Weights as a QLoRA adapter saw them in training: rounded to NF4 and dequantised.

Shape letters: O output features, I input features; N rows of a tensor as it is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from torch import Tensor

from vox_populi.adapters.header import (
    AdapterHeader,
    Quantization,
)
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import EMBED_WEIGHT, HEAD_WEIGHT, AdapterModule, TensorKey, tensor_keys
from vox_populi.model.nf4_load import quantize_stored
from vox_tensor.nf4 import dequantize_nf4
from vox_tensor.nf4_levels import Nf4Settings


@dataclass(frozen=True, slots=True)
class RoundedWeight:
    """One weight of a base, rounded when it is needed."""

    inventory: ModelInventory
    key: TensorKey
    """Key of the tensor to read."""
    settings: Nf4Settings

    def values_NI(self) -> Tensor:
        """The weight in float32, oriented as the base stores it.

        Raises:
            ModelError: When the base cannot be read any more, or has a value that is not finite.
        """
        dense_OI = dequantize_nf4(quantize_stored(self.inventory, self.key, self.settings))
        return dense_OI.t() if self.key.transposed else dense_OI


@dataclass(frozen=True, slots=True)
class TrainedBase:
    """A base with some weights rounded."""

    inventory: ModelInventory
    settings: Nf4Settings
    rounded: frozenset[str]
    """Our names of the rounded tensors."""

    def weight(self, key: TensorKey) -> RoundedWeight | None:
        """A tensor as training saw it; `None` if that is how it is stored.

        A tied head that was quantised is a rounded copy of the embedding table.
        """
        if key.ours not in self.rounded:
            return None
        source = key
        if key.theirs not in self.inventory.tensors and key.theirs not in self.inventory.nf4:
            keys = tensor_keys(self.inventory.config)
            source = next(each for each in keys if each.ours == EMBED_WEIGHT)
        return RoundedWeight(self.inventory, source, self.settings)


def with_table_as_head(inventory: ModelInventory) -> ModelInventory:
    """A base with the embedding table as its head, even if it has a separate head.

    The proxy graphs are trained this way and never see a separate head.
    """
    tensors = {name: info for name, info in inventory.tensors.items() if name != HEAD_WEIGHT}
    return replace(inventory, tensors=MappingProxyType(tensors), tied_head=True)


def trained_base(
    inventory: ModelInventory,
    header: AdapterHeader,
    quantization: Quantization,
    modules: Sequence[AdapterModule],
) -> TrainedBase:
    """The base that an adapter was trained on.

    In the full graph every linear layer of the blocks is in NF4, adapted or not; in the proxy
    graphs only the adapted ones, including the head, and nothing else takes part.
    """
    if header.graph.is_proxy:
        names = frozenset(f"{module.ours}.weight" for module in modules)
    else:
        names = frozenset(key.ours for key in inventory.quantized_keys())
    return TrainedBase(inventory, quantization.nf4, names)
