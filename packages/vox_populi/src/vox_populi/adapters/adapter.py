"""An adapter in memory, independent of its files: a header and its numbers.

Shape letters: R rank, I input features, O output features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from vox_populi.adapters.header import AdaptedModule, AdapterHeader
from vox_populi.model.lora_transformer import A_SUFFIX, B_SUFFIX


@dataclass(frozen=True, slots=True)
class Adapter:
    """A trained adapter."""

    header: AdapterHeader
    tensors: Mapping[str, Tensor]
    """`<module>.lora_A` `[R, I]` and `<module>.lora_B` `[O, R]`, float32, on the CPU."""

    def pair(self, module: str) -> tuple[Tensor, Tensor]:
        """A and B of a module."""
        return self.tensors[module + A_SUFFIX], self.tensors[module + B_SUFFIX]

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
