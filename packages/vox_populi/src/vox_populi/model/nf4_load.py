"""Reading a base tensor by tensor, quantising its linear layers to NF4 on the way.

A weight is quantised from the values in its file, in our orientation `[out, in]`, whatever the
compute dtype; transformers with bitsandbytes does the same for a checkpoint loaded in its own
dtype. Packed weights are used as they are. Quantising happens on the CPU, or on a device that was
found to make the same bytes, so that the numbers do not depend on the device.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from vox_populi.containers.tensor_reader import is_finite, read_tensor
from vox_populi.containers.torch_dtypes import TORCH_DTYPES
from vox_populi.errors import ModelError
from vox_populi.hf import nf4_stored as stored_nf4
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import TensorKey, tensor_keys
from vox_populi.hf.nf4_stored import Nf4Stored
from vox_populi.model.allocator import trim_freed_memory
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.model.hf_load import read_weight
from vox_populi.model.hollow_graph import hollow_graph
from vox_populi.operator_messages import quantize as say_quantize
from vox_populi.operator_messages.tensors import MODEL_FOLDER, tensor_not_finite
from vox_tensor.lora import FrozenLinear
from vox_tensor.nf4 import NestedScales, Nf4Tensor, quantize_nf4
from vox_tensor.nf4_levels import Nf4Settings
from vox_tensor.nf4_weight import DensePool, Nf4Weight

_VALUES_BETWEEN_TRIMS = 1 << 26
"""Small matrices, of experts for instance, come from glibc's heap, and between what stays of them
are holes of what was read: without trimming, as large as the model."""


def load_nf4_base(
    inventory: ModelInventory,
    dtype: torch.dtype,
    device: torch.device | str,
    settings: Nf4Settings,
    pool: DensePool,
    *,
    quantize_on: torch.device | str = "cpu",
) -> CausalGraph:
    """Build the transformer with frozen NF4 layers in its blocks, in evaluation mode.

    `inventory.quantized_keys()` become `FrozenLinear` over `Nf4Weight`; embeddings, norms,
    biases, the head and whatever a quantised folder left dense are kept in `dtype`. Peak memory is
    the finished model plus two copies of the largest tensor in its stored dtype.

    Args:
        inventory: The folder's contents; complete.
        dtype: Type of the dense tensors.
        device: Where to put everything, one tensor at a time.
        settings: How to quantise.
        pool: Where all layers make their dense copies.
        quantize_on: Where to quantise, one tensor at a time.

    Raises:
        ModelError: For a value that is not finite, or a shard that changed since its header was
            read.
        ValueError: For an inventory with missing tensors.
    """
    if inventory.missing:
        message = f"the folder lacks {', '.join(inventory.missing)}"
        raise ValueError(message)
    model = hollow_graph(inventory, dtype)
    packed = {key.ours for key in inventory.quantized_keys()}
    state: dict[str, Tensor] = {}
    values = 0
    for key in _in_file_order(inventory):
        if key.ours in packed:
            codes = quantize_stored(inventory, key, settings, quantize_on).to(device)
            _freeze_linear(model, key, Nf4Weight(codes, pool))
            values += codes.n_values
            if values > _VALUES_BETWEEN_TRIMS:
                trim_freed_memory()
                values = 0
        else:
            state[key.ours] = read_weight(inventory, key).to(dtype).contiguous().to(device)
    model.fill(state)
    return model.requires_grad_(requires_grad=False).eval()


def quantize_stored(
    inventory: ModelInventory,
    key: TensorKey,
    settings: Nf4Settings,
    device: torch.device | str = "cpu",
) -> Nf4Tensor:
    """One weight in NF4, `[out, in]`: packed ones as they are, on the CPU, others quantised.

    Args:
        inventory: The folder's contents.
        key: One of its matrices; an embedding table can be quantised as well.
        settings: How to quantise.
        device: Where to quantise, and where the result is.

    Raises:
        ModelError: For a value that is not finite, or values too large for double quantisation;
            for a shard that became shorter.
    """
    packed = inventory.nf4.get(key.theirs)
    if packed is not None:
        return _read_packed(inventory.model_dir, packed)
    weight = read_weight(inventory, key).to(device)
    try:
        return quantize_nf4(
            weight, block_size=settings.block_size, double_quant=settings.double_quant
        )
    except ValueError:
        # Every value is finite; the sum of the block magnitudes is not.
        path = inventory.model_dir / inventory.tensors[key.theirs].shard
        raise ModelError(say_quantize.nf4_scales_overflow(key.theirs).at(str(path))) from None


def _in_file_order(inventory: ModelInventory) -> list[TensorKey]:
    """The existing tensors, in their order on disk."""
    places = {name: (info.shard, info.start) for name, info in inventory.tensors.items()}
    for name, weight in inventory.nf4.items():
        info = weight.parts[stored_nf4.WEIGHT]
        places[name] = (info.shard, info.start)
    there = [key for key in tensor_keys(inventory.config) if key.theirs in places]
    return sorted(there, key=lambda key: places[key.theirs])


def _freeze_linear(model: CausalGraph, key: TensorKey, weight: Nf4Weight) -> None:
    """Replace a plain layer with one over `weight`; its bias has yet to be filled."""
    name = key.ours.removesuffix(".weight")
    model.put_layer(name, FrozenLinear(weight, model.layer(name).bias))


def _read_packed(model_dir: Path, weight: Nf4Stored) -> Nf4Tensor:
    parts = {
        name: _read_part(model_dir, weight, name)
        for name in weight.parts
        if name not in (stored_nf4.QUANT_MAP, stored_nf4.QUANT_STATE)
    }
    scales: Tensor | NestedScales = parts[stored_nf4.ABSMAX]
    if weight.nested_offset is not None:
        scales = NestedScales(
            codes_B=parts[stored_nf4.ABSMAX],
            absmax_G=parts[stored_nf4.NESTED_ABSMAX],
            levels=parts[stored_nf4.NESTED_QUANT_MAP],
            offset=torch.tensor(weight.nested_offset, dtype=torch.float32),
        )
    return Nf4Tensor(
        codes=parts[stored_nf4.WEIGHT],
        scales=scales,
        shape=weight.shape,
        block_size=weight.settings.block_size,
        dtype=TORCH_DTYPES[weight.dtype],
    )


def _read_part(model_dir: Path, weight: Nf4Stored, name: str) -> Tensor:
    info = weight.parts[name]
    part = read_tensor(model_dir / info.shard, info)
    if part.dtype != torch.uint8 and not is_finite(part):
        raise ModelError(tensor_not_finite(MODEL_FOLDER, str(model_dir / info.shard), info.name))
    return part
