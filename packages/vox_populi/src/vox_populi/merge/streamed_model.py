"""Our transformer with matrices that stay in their files: a product reads rows and discards them.

Shape letters: T tokens, I input features, O output features; N rows of a matrix as it is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vox_populi.containers.file_ranges import open_ranges, read_range
from vox_populi.containers.mxfp4_info import Mxfp4Info
from vox_populi.containers.mxfp4_reader import read_mxfp4
from vox_populi.containers.safetensors_header import TensorInfo
from vox_populi.containers.tensor_reader import read_tensor, values_of
from vox_populi.containers.torch_dtypes import TORCH_DTYPE_OF
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import EMBED_WEIGHT, TensorKey, embedding_key, tensor_keys
from vox_populi.merge.full_graph import LowRankUpdate, MergedGraph, MergedTensor
from vox_populi.merge.rounded_weight import RoundedWeight, TrainedBase
from vox_populi.merge.shard_writer import BLOCK_VALUES
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.model.hollow_graph import hollow_graph
from vox_tensor.lora import FrozenLinear, FrozenWeight


class WeightRows(Protocol):
    """The rows of a matrix in float32, oriented as the base stores it."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns as stored."""

    def blocks(self, step: int) -> Iterator[Tensor]:
        """All rows, a number at a time; a block is valid until the next one."""

    def row(self, row: int) -> Tensor:
        """One row, `[1, I]`."""


class StoredRows:
    """Rows of a matrix in a file."""

    def __init__(self, folder: Path, info: TensorInfo) -> None:
        self._path, self._info = folder / info.shard, info
        n_rows, width = info.shape
        self.shape = (n_rows, width)
        self._row_bytes = info.n_bytes // n_rows

    def blocks(self, step: int) -> Iterator[Tensor]:
        """Read blocks into one buffer."""
        info = self._info
        with open_ranges(self._path) as reader:
            for block in reader.blocks(info.start, info.n_bytes, step * self._row_bytes):
                yield values_of(block, info.dtype).float().view(-1, self.shape[1])

    def row(self, row: int) -> Tensor:
        """Read one row."""
        start = self._info.start + row * self._row_bytes
        data = read_range(self._path, start, self._row_bytes)
        return values_of(data, self._info.dtype).float().view(1, -1)


class DenseRows:
    """Rows of a matrix in MXFP4; made again for each product."""

    def __init__(self, folder: Path, info: Mxfp4Info) -> None:
        self._folder, self._info = folder, info
        n_rows, width = info.shape
        self.shape = (n_rows, width)

    def blocks(self, step: int) -> Iterator[Tensor]:
        """Yield views of the whole matrix."""
        yield from read_mxfp4(self._folder, self._info).float().split(step)

    def row(self, row: int) -> Tensor:
        """One row; the whole matrix is made for it."""
        return read_mxfp4(self._folder, self._info)[row : row + 1].float()


class RoundedRows:
    """Rows of a weight that was in NF4 during training; rounded again for each product."""

    def __init__(self, weight: RoundedWeight) -> None:
        self._weight = weight
        n_rows, width = weight.key.shape
        self.shape = (n_rows, width)

    def blocks(self, step: int) -> Iterator[Tensor]:
        """Yield views of the whole rounded matrix."""
        yield from self._weight.values_NI().split(step)

    def row(self, row: int) -> Tensor:
        """One row as a view; the whole matrix is computed for it."""
        return self._weight.values_NI()[row : row + 1]


class MergedRows:
    """Rows with an update added, rounded to the type that a merge writes."""

    def __init__(self, base: WeightRows, update: LowRankUpdate | None, dtype: torch.dtype) -> None:
        self._base, self._update, self._dtype = base, update, dtype
        self.shape = base.shape

    def blocks(self, step: int) -> Iterator[Tensor]:
        """Yield the base's blocks with the update added."""
        first = 0
        for values_NI in self._base.blocks(step):
            yield self._merged(values_NI, first)
            first += values_NI.shape[0]

    def row(self, row: int) -> Tensor:
        """The base's row with the update added."""
        return self._merged(self._base.row(row), row)

    def _merged(self, values_NI: Tensor, first: int) -> Tensor:
        if self._update is not None:
            values_NI = values_NI + self._update.rows(first, first + values_NI.shape[0])
        return values_NI.to(self._dtype).float()


def stored_model(inventory: ModelInventory) -> CausalGraph:
    """A folder's model as stored; it must not be quantised."""
    return streamed_model(
        inventory, lambda key: _stored_rows(inventory.model_dir, _info(inventory, key))
    )


def trained_model(trained: TrainedBase) -> CausalGraph:
    """A base as an adapter saw it in training."""
    inventory = trained.inventory

    def rows(key: TensorKey) -> WeightRows:
        rounded = trained.weight(key)
        if rounded is not None:
            return RoundedRows(rounded)
        return _stored_rows(inventory.model_dir, _info(inventory, key))

    return streamed_model(inventory, rows)


def planned_model(inventory: ModelInventory, graph: MergedGraph) -> CausalGraph:
    """The model a merge would write, without writing it."""
    planned = {tensor.key.ours: tensor for tensor in graph.tensors}

    def rows(key: TensorKey) -> WeightRows:
        # A head that stays tied has no tensor of its own.
        tensor = planned.get(key.ours) or planned[EMBED_WEIGHT]
        return merged_rows(tensor, inventory.model_dir)

    return streamed_model(inventory, rows)


def merged_rows(tensor: MergedTensor, folder: Path) -> WeightRows:
    """The rows of a matrix as written by a merge."""
    rounded = tensor.rounded
    base = _stored_rows(folder, tensor.source) if rounded is None else RoundedRows(rounded)
    return MergedRows(base, tensor.update, TORCH_DTYPE_OF[tensor.dtype])


def _stored_rows(folder: Path, info: TensorInfo) -> WeightRows:
    """The rows of a matrix as a folder has it."""
    return DenseRows(folder, info) if isinstance(info, Mxfp4Info) else StoredRows(folder, info)


def _info(inventory: ModelInventory, key: TensorKey) -> TensorInfo:
    """Location of a tensor; a tied head uses the embedding's."""
    tensors = inventory.tensors
    return tensors.get(key.theirs) or tensors[embedding_key(inventory.config)]


def streamed_model(
    inventory: ModelInventory, rows_of: Callable[[TensorKey], WeightRows]
) -> CausalGraph:
    """A model whose matrices come from `rows_of`, and whose vectors are read from its files."""
    model = hollow_graph(inventory, torch.float32)
    read = _read_by_class(inventory)
    for key in tensor_keys(inventory.config):
        path, _, leaf = key.ours.rpartition(".")
        module = model.layer(path)
        is_streamed = isinstance(module, nn.Linear | nn.Embedding) and path not in read
        if leaf == "weight" and is_streamed:
            weight = StreamedWeight(rows_of(key), is_transposed=key.transposed)
            if isinstance(module, nn.Linear):
                model.put_layer(path, FrozenLinear(cast(FrozenWeight, weight), module.bias))
            else:
                delattr(module, leaf)
                setattr(module, leaf, weight)
        else:
            info = _info(inventory, key)
            values = read_tensor(inventory.model_dir / info.shard, info).float()
            model.put_tensor(key.ours, values)
    return model.eval()


def _read_by_class(inventory: ModelInventory) -> frozenset[str]:
    """Linear layers that carry no adapter, since a class of transformers may read their weights."""
    table = inventory.config.modules
    return frozenset() if table is None else frozenset(each.path for each in table.frozen)


class StreamedWeight:
    """A replacement for a torch weight `[O, I]` that reads it while it is used.

    Products use it as a `FrozenWeight`; torch passes table lookups with such an argument to
    `__torch_function__`.
    """

    requires_grad = False
    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self, rows: WeightRows, *, is_transposed: bool = False) -> None:
        self._rows = rows
        self._is_transposed = is_transposed

    @property
    def shape(self) -> torch.Size:
        """`[O, I]`."""
        n_rows, width = self._rows.shape
        return torch.Size((width, n_rows) if self._is_transposed else (n_rows, width))

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Called by torch; anything but a lookup is not implemented."""
        if function is F.embedding:
            return args[1].embedding(args[0])
        return NotImplemented

    def linear(self, x_TI: Tensor, bias_O: Tensor | None) -> Tensor:
        """`x @ W.T + bias`, block by block in the order of the rows as stored."""
        width = self._rows.shape[1]
        # Few columns against many rows: the product is faster with the weight on the left.
        x_IT = x_TI.t().contiguous()
        y_OT = torch.zeros(self.shape[0], x_TI.shape[0])
        first = 0
        for block in self._rows.blocks(max(1, BLOCK_VALUES // width)):
            last = first + block.shape[0]
            if self._is_transposed:
                y_OT.addmm_(block.t(), x_IT[first:last])
            else:
                torch.mm(block, x_IT, out=y_OT[first:last])
            first = last
        y_TO = y_OT.t().contiguous()
        return y_TO if bias_O is None else y_TO.add_(bias_O)

    def input_gradient(self, g_TO: Tensor, dx_TI: Tensor | None) -> Tensor:
        """Refuse, since nothing is trained through a file.

        Raises:
            TypeError: Always.
        """
        message = "a streamed weight has no backward pass"
        raise TypeError(message)

    def embedding(self, ids_T: Tensor) -> Tensor:
        """Rows of the table, `[T, I]`, or with as many dimensions more as the ids have."""
        rows = torch.cat([self._rows.row(row) for row in ids_T.flatten().tolist()])
        return rows.view(*ids_T.shape, -1)
