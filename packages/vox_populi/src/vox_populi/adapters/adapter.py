"""An adapter in memory, independent of its files: a header and its numbers.

Shape letters: R rank, I input features, O output features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vox_populi.adapters.header import AdaptedModule, AdapterHeader
from vox_populi.hf.keymap import AdapterModule
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.model.lora_transformer import (
    A_SUFFIX,
    B_SUFFIX,
    attach_adapters,
    load_adapter_tensors,
)
from vox_tensor.lora import LoraLinear


@dataclass(frozen=True, slots=True)
class Adapter:
    """A trained adapter."""

    header: AdapterHeader
    tensors: Mapping[str, Tensor]
    """`<module>.lora_A` `[R, I]` and `<module>.lora_B` `[O, R]`, float32, on the CPU."""

    def pair(self, module: str) -> tuple[Tensor, Tensor]:
        """A and B of a module."""
        return self.tensors[module + A_SUFFIX], self.tensors[module + B_SUFFIX]

    def attach(self, model: CausalGraph, modules: Sequence[AdapterModule]) -> dict[str, LoraLinear]:
        """Put the adapter on a base, unmerged; returns the adapted layers by our module name.

        Args:
            model: The base; changed in place.
            modules: The base's modules that the adapter names.
        """
        adapted = attach_adapters(model, modules, self.header.lora, torch.Generator())
        load_adapter_tensors(adapted, self.tensors)
        return adapted

    def with_modules(self, modules: Mapping[str, AdaptedModule]) -> Adapter:
        """The same numbers under other modules, each given by its current name."""
        header = replace(self.header, modules=tuple(modules.values()))
        return Adapter(header, renamed(self.tensors, {n: m.ours for n, m in modules.items()}))


def renamed(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """A and B of every module under another name, in the order of `names`."""
    return {
        new + suffix: tensors[old + suffix]
        for old, new in names.items()
        for suffix in (A_SUFFIX, B_SUFFIX)
    }
