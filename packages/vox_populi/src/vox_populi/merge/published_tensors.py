"""The tensors of a merged folder: those of the merge, named and fused as in the base, and the rest.

A program that reads the base reads the merged folder: a text model within a larger one keeps its
names and everything around it, experts stay in the tensors that held them.
"""

from __future__ import annotations

from collections.abc import Iterator

from vox_populi.containers.safetensors_header import TensorInfo
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.tensor_key import TensorKey
from vox_populi.merge.full_graph import MergedGraph, MergedTensor
from vox_populi.merge.shard_writer import PlacedTensor


def published_tensors(inventory: ModelInventory, graph: MergedGraph) -> Iterator[PlacedTensor]:
    """Every tensor of the output in forward order, then what the base has besides its text model.

    Args:
        inventory: The base.
        graph: What becomes of its model.
    """
    wholes = {fused.parts[0][0]: (name, fused) for name, fused in inventory.fused.items()}
    parts = {name for _, fused in wholes.values() for name, _ in fused.parts}
    tensors = {tensor.key.theirs: tensor for tensor in graph.tensors}
    for theirs, tensor in tensors.items():
        if theirs in wholes:
            name, fused = wholes[theirs]
            yield PlacedTensor(name, tuple(tensors[part] for part, _ in fused.parts), fused.shape)
        elif theirs not in parts:
            yield PlacedTensor.of(inventory.published_name(theirs), tensor)
    for info in inventory.others.values():
        yield PlacedTensor.of(info.name, _as_it_is(info))


def _as_it_is(info: TensorInfo) -> MergedTensor:
    key = TensorKey(info.name, info.name, info.shape, transposed=False, required=True)
    return MergedTensor(key, info, update=None)
