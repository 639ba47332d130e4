"""Reading a base model's weights from a `save_pretrained` folder into our transformer."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

from vox_populi.containers.tensor_reader import is_finite, read_rows, read_tensor
from vox_populi.errors import ModelError
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import TensorKey, tensor_keys
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.model.hollow_graph import hollow_graph
from vox_populi.operator_messages.tensors import MODEL_FOLDER, tensor_not_finite


def load_base(
    inventory: ModelInventory, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> CausalGraph:
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
    model = hollow_graph(inventory, dtype)
    model.fill(_read_state(inventory, dtype, device))
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
        raise ModelError(tensor_not_finite(MODEL_FOLDER, str(path), key.theirs))
    return stored.t() if key.transposed else stored


def read_weight_rows(inventory: ModelInventory, key: TensorKey, first: int, count: int) -> Tensor:
    """Some rows of a matrix in their stored dtype, on the CPU, checked to be finite.

    Args:
        inventory: The folder's contents.
        key: A table: embeddings or head, which no family stores transposed.
        first: The first of the rows.
        count: How many; those beyond the last one of the matrix are zeros.

    Raises:
        ModelError: As `read_weight`.
    """
    assert not key.transposed, f"{key.theirs} is stored transposed"
    info = inventory.tensors[key.theirs]
    path = inventory.model_dir / info.shard
    rows = read_rows(path, info, first, count)
    if not is_finite(rows):
        raise ModelError(tensor_not_finite(MODEL_FOLDER, str(path), key.theirs))
    return rows
