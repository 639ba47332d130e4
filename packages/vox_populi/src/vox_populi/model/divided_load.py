"""Loading a base that several processes hold together: each has a part of every block.

Blocks are divided by `torch.distributed.fsdp.fully_shard`, embeddings and head by
`divided_table`. A part is read, quantised if asked for, and divided before the next one is read, so
that no process ever holds the whole base. To compute, a block is gathered, and let go again after
its forward and its backward pass.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import EMBED_WEIGHT, HEAD, TensorKey, tensor_keys
from vox_populi.model.divided_nf4 import DividedNf4Weight, PackedParts
from vox_populi.model.divided_table import DividedTable, empty_head, rows_of_each, whole_head
from vox_populi.model.hf_load import read_weight, read_weight_rows
from vox_populi.model.shared_quantising import quantize_together
from vox_populi.model.transformer import Transformer
from vox_tensor.lora import FrozenLinear, LoraLinear
from vox_tensor.nf4_levels import Nf4Settings
from vox_tensor.nf4_weight import DensePool

_HALF_PRECISION = (torch.bfloat16, torch.float16)
_EMBED = EMBED_WEIGHT.removesuffix(".weight")


class Packing(NamedTuple):
    """How the linear layers of the blocks are quantised."""

    settings: Nf4Settings
    pool: DensePool
    quantize_on: str = "cpu"
    """Device that quantises."""


def load_divided_base(
    inventory: ModelInventory,
    dtype: torch.dtype,
    device: torch.device | str,
    packing: Packing | None = None,
) -> Transformer:
    """Build the transformer, each part of it divided over the processes of the default group.

    Its numbers are those of `load_base` and `load_nf4_base`. Peak memory is this process's share,
    one whole block, and two copies of its largest tensor in its stored dtype.

    Args:
        inventory: The folder's contents; complete.
        dtype: Type of the dense tensors.
        device: Where to put everything, one tensor at a time.
        packing: How to quantise; `None` leaves the base dense.

    Raises:
        ModelError: For a value that is not finite, or a shard that changed since its header was
            read.
    """
    with torch.device("meta"):
        model = Transformer(inventory.config)
    mesh = init_device_mesh(torch.device(device).type, (dist.get_world_size(),))
    fill = _Filling(inventory, dtype, device, packing)
    units = _units(inventory)
    embed = fill.table(units.pop(_EMBED))
    model.add_module(_EMBED, embed)
    table = fill.table(units.pop(HEAD)) if HEAD in units else embed
    model.lm_head = empty_head(table)
    model.whole_head = partial(_with_head, model, table, packing.pool if packing else None)
    for name, keys in units.items():
        unit = model.get_submodule(name)
        fill.unit(unit, name, keys)
        if name.startswith("blocks."):
            fully_shard(unit, mesh=mesh, reshard_after_forward=True)
    meta = [name for name, p in model.named_parameters() if p.is_meta]
    assert not meta, f"left unfilled: {meta}"
    return model.requires_grad_(requires_grad=False).eval()


def _units(inventory: ModelInventory) -> dict[str, list[TensorKey]]:
    """The parts of a model that are read at a time, with their tensors."""
    units: dict[str, list[TensorKey]] = {}
    packed = {key.ours for key in inventory.quantized_keys()}
    for key in tensor_keys(inventory.config):
        if key.theirs in inventory.tensors or key.ours in packed:
            parts = key.ours.split(".")
            units.setdefault(".".join(parts[: 2 if parts[0] == "blocks" else 1]), []).append(key)
    return units


class _Filling(NamedTuple):
    """Fills parts of a model that is on the meta device."""

    inventory: ModelInventory
    dtype: torch.dtype
    device: torch.device | str
    packing: Packing | None

    def table(self, keys: list[TensorKey]) -> DividedTable:
        """Read this process's rows of a table."""
        (key,) = keys
        rows = key.shape[0]
        each = rows_of_each(rows)
        own_RD = read_weight_rows(self.inventory, key, dist.get_rank() * each, each)
        # Half as wide, and every one of their values fits.
        is_narrower = self.dtype == torch.float32 and own_RD.dtype in _HALF_PRECISION
        if torch.device(self.device).type != "cpu" or not is_narrower:
            own_RD = own_RD.to(self.dtype).to(self.device)
        return DividedTable(own_RD, rows, self.dtype)

    def unit(self, unit: nn.Module, name: str, keys: list[TensorKey]) -> None:
        """Read the tensors of one part."""
        state: dict[str, Tensor] = {}
        packed = self._pack(unit, name, keys, self.packing) if self.packing else set()
        for key in keys:
            if key.ours not in packed:
                place = key.ours.removeprefix(f"{name}.")
                weight = read_weight(self.inventory, key).to(self.dtype)
                state[place] = weight.contiguous().to(self.device)
        unit.load_state_dict(state, strict=False, assign=True)
        unit.requires_grad_(requires_grad=False)

    def _pack(
        self, unit: nn.Module, name: str, keys: list[TensorKey], packing: Packing
    ) -> set[str]:
        """Put the quantised layers of a part in their places; returns their names."""
        settings, pool, quantize_on = packing
        chosen = {key.ours for key in self.inventory.quantized_keys()}
        packed = quantize_together(
            self.inventory,
            [key for key in keys if key.ours in chosen],
            settings,
            self.device,
            quantize_on,
        )
        for ours, codes in packed.items():
            place = ours.removeprefix(f"{name}.").removesuffix(".weight")
            parent_name, _, child = place.rpartition(".")
            parent = unit.get_submodule(parent_name)
            parts = PackedParts(codes)
            layer = FrozenLinear(DividedNf4Weight(parts, pool), getattr(parent, child).bias)
            # As a module of its own, FSDP finds it.
            layer.parts = parts
            setattr(parent, child, layer)
        return set(packed)


def _with_head(
    model: Transformer, table: DividedTable, pool: DensePool | None
) -> AbstractContextManager[None]:
    """A block of code that has the whole head, with or without an adapter on it."""
    if pool is not None:
        # No block computes meanwhile, and the head is what takes the most.
        pool.drop_scratch()
    head = model.lm_head.base if isinstance(model.lm_head, LoraLinear) else model.lm_head
    assert isinstance(head, nn.Linear)
    return whole_head(head, table)
