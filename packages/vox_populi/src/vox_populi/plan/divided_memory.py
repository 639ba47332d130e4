"""Memory of one of several processes that hold a base together. No torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import NamedTuple

from vox_populi.containers.dtypes import DTYPE_BITS
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import EMBED_WEIGHT, HEAD, tensor_keys
from vox_populi.plan.memory_estimate import MemoryEstimate

CPU_LIBRARIES_BYTES = 110 * 2**20
"""What FSDP imports at its first block: torch's compiler, and Triton where that is installed. 50
MiB with torch 2.13, and 60 of pages of Triton's library."""


class BaseParts(NamedTuple):
    """What a base is made of, in bytes."""

    dense: Mapping[str, int]
    """Dense tensors of each part that is divided, as they are computed with: of a block, the
    embeddings, the head."""
    packed: Mapping[str, int]
    """NF4 codes and magnitudes of each part."""
    held: Mapping[str, int]
    """Tables as processes hold them: on a CPU in the type of the file, if that is narrower."""

    @property
    def block(self) -> int:
        """The largest block."""
        names = {*self.dense, *self.packed} - {*_TABLES}
        return max(self.dense.get(name, 0) + self.packed.get(name, 0) for name in names)

    @property
    def table(self) -> int:
        """The larger of embeddings and head."""
        return max(self.dense[name] for name in _TABLES if name in self.dense)


def base_parts(
    inventory: ModelInventory, packed: Mapping[str, int], value_bytes: int, device: str
) -> BaseParts:
    """The parts of a base that processes divide among them.

    Args:
        inventory: The base.
        packed: Bytes of each layer in NF4, by our module name.
        value_bytes: Bytes of a dense value that is computed with.
        device: torch's name of the device that holds them.
    """
    dense_of: dict[str, int] = defaultdict(int)
    packed_of: dict[str, int] = defaultdict(int)
    held: dict[str, int] = {}
    for key in tensor_keys(inventory.config):
        part, layer = _part_of(key.ours), key.ours.removesuffix(".weight")
        if part is None or not key.required:
            continue
        if layer in packed:
            packed_of[part] += packed[layer]
        else:
            dense_of[part] += prod(key.shape) * value_bytes
        stored = inventory.tensors.get(key.theirs)
        if part in _TABLES and layer not in packed:
            width = DTYPE_BITS[stored.dtype] // 8 if stored and device == "cpu" else value_bytes
            held[part] = prod(key.shape) * min(width, value_bytes)
    return BaseParts(dense_of, packed_of, held)


def divided_memory(
    memory: MemoryEstimate, parts: BaseParts, size: int, device: str
) -> MemoryEstimate:
    """The estimate for one of `size` processes, from that for a process with the whole base.

    A block is gathered twice, as received and as copied from that, beside a dense copy of one of
    its matrices. While a table is whole, none of those is there.
    """
    dense, packed = sum(parts.dense.values()), sum(parts.packed.values())
    held = dense + sum(parts.held[name] - parts.dense[name] for name in parts.held)
    libraries = CPU_LIBRARIES_BYTES if device == "cpu" else 0
    return replace(
        memory,
        weights=memory.weights - dense + -(-held // size),
        packed_weights=memory.packed_weights - packed + -(-packed // size),
        gathered=max(2 * parts.block, parts.table - memory.dense_copies),
        runtime=memory.runtime + libraries,
    )


def _part_of(name: str) -> str | None:
    """The part that a tensor is gathered with; `None` for small ones that every process has."""
    first, _, rest = name.partition(".")
    if first == "blocks":
        return f"{first}.{rest.partition('.')[0]}"
    return first if first in _TABLES else None


_TABLES = (EMBED_WEIGHT.removesuffix(".weight"), HEAD)
"""Parts with one tensor, which is received where it is used."""
