"""Reading a base model's weights from a `save_pretrained` folder into our transformer."""

from __future__ import annotations

from collections import defaultdict

import torch
from safetensors import safe_open
from torch import Tensor

from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import TensorKey, tensor_keys
from vox_populi.model.transformer import Transformer


def load_base(
    inventory: ModelInventory, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> Transformer:
    """Build the transformer and fill it, shard by shard, in evaluation mode and frozen.

    The inventory has already refused folders with missing or misshaped tensors. Peak memory
    is the model in `dtype` plus one tensor in its stored dtype.

    Args:
        inventory: What the folder holds.
        dtype: Type the weights are kept and computed in.
        device: Where they go.
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
        with safe_open(inventory.model_dir / shard, framework="pt", device="cpu") as file:
            for key in by_shard[shard]:
                stored = file.get_tensor(inventory.tensors[key.theirs].name)
                state[key.ours] = _arrange(stored, key, dtype).to(device)
    return state


def _arrange(stored: Tensor, key: TensorKey, dtype: torch.dtype) -> Tensor:
    """Our orientation and dtype; Conv1D weights are stored `[in, out]`."""
    wide = stored.to(dtype)
    return wide.t().contiguous() if key.transposed else wide
