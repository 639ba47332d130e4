"""Quantising the matrices of a part of a model once, shared among several processes.

Each process quantises some of them and sends the others their codes: with W processes a base is
loaded in a W-th of the work. Codes are bytes, so all of them hold what one process would have made.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from vox_populi.containers.torch_dtypes import TORCH_DTYPE_OF
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import TensorKey
from vox_populi.model.nf4_load import quantize_stored
from vox_tensor.nf4 import NestedScales, Nf4Tensor
from vox_tensor.nf4_levels import GROUP_SIZE, Nf4Settings


def quantize_together(
    inventory: ModelInventory,
    keys: Sequence[TensorKey],
    settings: Nf4Settings,
    device: torch.device | str,
    quantize_on: torch.device | str = "cpu",
) -> dict[str, Nf4Tensor]:
    """Some weights in NF4, by our names, on a device of every process.

    Args:
        inventory: The folder's contents.
        keys: Its matrices; the same in every process, which all call this at the same time.
        settings: How to quantise.
        device: Where to put them.
        quantize_on: Where to quantise.

    Raises:
        ModelError: As `quantize_stored`, in the process that quantises that weight; the others
            lose it as a peer.
    """
    makers = _makers([0 if key.theirs in inventory.nf4 else _n_values(key) for key in keys])
    found: dict[str, Nf4Tensor] = {}
    for key, maker in zip(keys, makers, strict=True):
        # What is packed already is read faster than it is sent.
        if key.theirs in inventory.nf4 or maker == dist.get_rank():
            found[key.ours] = quantize_stored(inventory, key, settings, quantize_on).to(device)
    for key, maker in zip(keys, makers, strict=True):
        if key.theirs not in inventory.nf4:
            like = found.get(key.ours) or _like(inventory, key, settings, device)
            for tensor in like.tensors():
                dist.broadcast(tensor, src=maker)
            found[key.ours] = like
    return found


def _makers(sizes: Sequence[int]) -> list[int]:
    """The process that quantises each matrix, such that each has about as much to do."""
    work = [0] * dist.get_world_size()
    makers = [0] * len(sizes)
    for place in sorted(range(len(sizes)), key=lambda place: -sizes[place]):
        makers[place] = work.index(min(work))
        work[makers[place]] += sizes[place]
    return makers


def _like(
    inventory: ModelInventory,
    key: TensorKey,
    settings: Nf4Settings,
    device: torch.device | str,
) -> Nf4Tensor:
    """Room for what `quantize_nf4` makes of a weight."""
    n_blocks = -(-_n_values(key) // settings.block_size)

    def room(size: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.empty(size, dtype=dtype, device=device)

    nested = NestedScales(
        codes_B=room((n_blocks,), torch.uint8),
        absmax_G=room((-(-n_blocks // GROUP_SIZE),), torch.float32),
        levels=room((256,), torch.float32),
        offset=room((), torch.float32),
    )
    return Nf4Tensor(
        codes=room(((_n_values(key) + 1) // 2, 1), torch.uint8),
        scales=nested if settings.double_quant else room((n_blocks,), torch.float32),
        shape=key.our_shape,
        block_size=settings.block_size,
        dtype=TORCH_DTYPE_OF[inventory.tensors[key.theirs].dtype],
    )


def _n_values(key: TensorKey) -> int:
    n_out, n_in = key.shape
    return n_out * n_in
