"""Memory of one of several processes that hold a base together. No torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import NamedTuple

from vox_populi.hf.keymap import EMBED_WEIGHT, HEAD, tensor_keys
from vox_populi.hf.model_config import ModelConfig
from vox_populi.plan.memory_estimate import MemoryEstimate


class BaseParts(NamedTuple):
    """What a base is made of, in bytes."""

    dense: Mapping[str, int]
    """Dense tensors of each part that is divided: of a block, the embeddings, the head."""
    packed: Mapping[str, int]
    """NF4 codes and magnitudes of each part."""

    @property
    def gathered(self) -> int:
        """Most bytes that are gathered; a block is copied from what was received, a table not."""
        names = {*self.dense, *self.packed}
        return max(
            (1 if name in _TABLES else 2) * (self.dense.get(name, 0) + self.packed.get(name, 0))
            for name in names
        )


def base_parts(config: ModelConfig, packed: Mapping[str, int], value_bytes: int) -> BaseParts:
    """The parts of a base that processes divide among them.

    Args:
        config: The base.
        packed: Bytes of each layer in NF4, by our module name.
        value_bytes: Bytes of a dense value.
    """
    dense_of: dict[str, int] = defaultdict(int)
    packed_of: dict[str, int] = defaultdict(int)
    for key in tensor_keys(config):
        part, layer = _part_of(key.ours), key.ours.removesuffix(".weight")
        if part is None or not key.required:
            continue
        if layer in packed:
            packed_of[part] += packed[layer]
        else:
            dense_of[part] += prod(key.shape) * value_bytes
    return BaseParts(dense_of, packed_of)


def divided_memory(memory: MemoryEstimate, parts: BaseParts, size: int) -> MemoryEstimate:
    """The estimate for one of `size` processes, from that for a process with the whole base."""
    dense, packed = sum(parts.dense.values()), sum(parts.packed.values())
    return replace(
        memory,
        weights=memory.weights - dense + -(-dense // size),
        packed_weights=memory.packed_weights - packed + -(-packed // size),
        gathered=parts.gathered,
    )


def _part_of(name: str) -> str | None:
    """The part that a tensor is gathered with; `None` for small ones that every process has."""
    first, _, rest = name.partition(".")
    if first == "blocks":
        return f"{first}.{rest.partition('.')[0]}"
    return first if first in _TABLES else None


_TABLES = (EMBED_WEIGHT.removesuffix(".weight"), HEAD)
"""Parts with one tensor, which is received where it is used."""
