"""Reading a base model's weights from a `save_pretrained` folder into our transformer."""

from __future__ import annotations

from collections import defaultdict
from io import FileIO
from pathlib import Path

import torch
from torch import Tensor

from vox_populi.containers.safetensors_header import TensorInfo
from vox_populi.errors import ModelError
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import TensorKey, tensor_keys
from vox_populi.model.transformer import Transformer
from vox_populi.operator_messages import model_folder as say
from vox_tensor.regular_file import regular_descriptor

STORED_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
"""Types in which a base's tensors may be stored, by safetensors name."""
_READ_DTYPES = {**STORED_DTYPES, "U8": torch.uint8}
"""Stored types, and the type of the parts of packed weights."""


def load_base(
    inventory: ModelInventory, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> Transformer:
    """Build the transformer and fill it, shard by shard, in evaluation mode and frozen.

    The inventory has already refused folders with missing or misshaped tensors. Bytes are read into
    the tensors themselves, not mapped: mapped pages would count as memory of this process in
    addition to the copy. Peak memory is the model in `dtype` plus one tensor in its stored dtype.

    Args:
        inventory: The folder's contents.
        dtype: Type in which the weights are kept and computed.
        device: Where to put them.

    Raises:
        ModelError: For a weight that is not finite, or a shard that became shorter since its
            header was read.
    """
    with torch.device("meta"):
        model = Transformer(inventory.config)
    model.load_state_dict(_read_state(inventory, dtype, device), strict=False, assign=True)
    model.tie_head()
    meta = [name for name, p in model.named_parameters() if p.is_meta]
    assert not meta, f"left unfilled: {meta}"
    return model.requires_grad_(requires_grad=False).eval()


def _read_state(
    inventory: ModelInventory, dtype: torch.dtype, device: torch.device | str
) -> dict[str, Tensor]:
    by_shard: dict[str, list[TensorKey]] = defaultdict(list)
    for key in tensor_keys(inventory.config):
        info = inventory.tensors.get(key.theirs)
        if info is not None:
            by_shard[info.shard].append(key)
    state: dict[str, Tensor] = {}
    for shard in sorted(by_shard):
        for key in by_shard[shard]:
            state[key.ours] = read_weight(inventory, key).to(dtype).contiguous().to(device)
    return state


def read_weight(inventory: ModelInventory, key: TensorKey) -> Tensor:
    """A dense tensor in its stored dtype and our orientation, on the CPU, checked to be finite.

    A Conv1D weight, stored `[in, out]`, comes as a transposed view.

    Raises:
        ModelError: For a value that is not finite, or a shard that became shorter.
    """
    info = inventory.tensors[key.theirs]
    path = inventory.model_dir / info.shard
    stored = read_tensor(path, info)
    if not is_finite(stored):
        raise ModelError(say.base_not_finite(str(path), key.theirs))
    return stored.t() if key.transposed else stored


def read_tensor(path: Path, info: TensorInfo) -> Tensor:
    """One tensor of a safetensors file, in its stored dtype and shape, on the CPU.

    Raises:
        ModelError: When the file has fewer bytes than its header declares.
    """
    data = bytearray(info.end - info.start)
    with FileIO(regular_descriptor(path), "rb") as file:
        file.seek(info.start)
        filled = 0
        while filled < len(data):
            count = file.readinto(memoryview(data)[filled:])
            if not count:
                raise ModelError(say.model_file_unreadable(str(path), "it became shorter"))
            filled += count
    return torch.frombuffer(data, dtype=_READ_DTYPES[info.dtype]).view(info.shape)


def is_finite(stored: Tensor) -> bool:
    """Whether all values are finite; one pass, no temporary: a NaN is both minimum and maximum."""
    return all(bool(bound.isfinite()) for bound in torch.aminmax(stored))
