"""A merge as stored in a GGUF file, and a model that computes with those numbers.

Shape letters: O output features, I input features; N rows of a tensor as stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vox_populi import extras
from vox_populi.containers.tensor_reader import read_tensor
from vox_populi.export.consumers import GgufType
from vox_populi.export.gguf.model import GgufSource, kind_of
from vox_populi.hf.hub_name import folder_name
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import EMBED_WEIGHT, TensorKey
from vox_populi.merge.full_graph import MergedGraph, MergedTensor
from vox_populi.merge.streamed_model import WeightRows, merged_rows, streamed_model
from vox_populi.model.causal_graph import CausalGraph


def merged_source(inventory: ModelInventory, graph: MergedGraph, where: str) -> GgufSource:
    """A base with an adapter added, each sum in float32.

    Args:
        inventory: The base.
        graph: The update to add.
        where: Place to report in problems.
    """
    return GgufSource(
        config=replace(inventory.config, tie_word_embeddings=graph.is_head_tied),
        name=folder_name(inventory.model_dir),
        where=where,
        tensors=[(tensor.key, _loader(inventory, tensor)) for tensor in graph.tensors],
    )


def gguf_model(inventory: ModelInventory, graph: MergedGraph, kind: GgufType) -> CausalGraph:
    """Our transformer with the numbers in the file; needs the extra `gguf` for q8_0."""
    planned = {tensor.key.ours: tensor for tensor in graph.tensors}

    def rows(key: TensorKey) -> WeightRows:
        # A head that stays tied has no tensor of its own.
        tensor = planned.get(key.ours) or planned[EMBED_WEIGHT]
        stored = kind_of(tensor.key, kind)
        is_q8 = stored is GgufType.Q8_0
        name = GgufType.F32.name if is_q8 else stored.name
        exact = merged_rows(replace(tensor, dtype=name), inventory.model_dir)
        return _Q8Rows(exact, is_transposed=tensor.key.transposed) if is_q8 else exact

    return streamed_model(inventory, rows)


class _Q8Rows:
    """Rows quantised to q8_0 and back; its blocks run along the input features."""

    def __init__(self, rows: WeightRows, *, is_transposed: bool) -> None:
        self._rows, self._is_transposed = rows, is_transposed
        self._gguf: Any = extras.load("gguf")
        self.shape = rows.shape

    def blocks(self, step: int) -> Iterator[Tensor]:
        """Blocks of rows if a row has the input features, otherwise the whole matrix."""
        if self._is_transposed:
            whole_NI = torch.cat([block.clone() for block in self._rows.blocks(step)])
            yield from self._through(whole_NI.t().contiguous()).t().split(step)
            return
        for block in self._rows.blocks(step):
            yield self._through(block)

    def row(self, row: int) -> Tensor:
        """One row of a table; tables are never stored transposed."""
        return self._through(self._rows.row(row))

    def _through(self, values_OI: Tensor) -> Tensor:
        quants, q8 = self._gguf.quants, self._gguf.GGMLQuantizationType.Q8_0
        back = quants.dequantize(quants.quantize(values_OI.numpy(), q8), q8)
        return torch.from_numpy(back)


def _loader(inventory: ModelInventory, tensor: MergedTensor) -> Callable[[], Tensor]:
    source = tensor.source

    def load() -> Tensor:
        if tensor.rounded is not None:
            values_NI = tensor.rounded.values_NI()
        else:
            values_NI = read_tensor(inventory.model_dir / source.shard, source).float()
        if tensor.update is None:
            return values_NI
        return values_NI + tensor.update.rows(0, values_NI.shape[0])

    return load
