"""Writing the merged tensors as safetensors files, block by block.

The layout depends only on the tensors, not on the files of the base. Each file is written from
start to end by one thread, and hashed on the way: two threads writing one file would wait for each
other in the kernel. At most one block per thread is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from vox_populi.containers.dtypes import DTYPE_BITS, bytes_of_values
from vox_populi.containers.file_ranges import RangeReader, open_ranges
from vox_populi.containers.mxfp4_info import Mxfp4Info
from vox_populi.containers.mxfp4_reader import expert_matrices
from vox_populi.containers.safetensors_header import TensorInfo
from vox_populi.containers.tensor_container import bytes_of, container_preamble
from vox_populi.containers.tensor_reader import values_of
from vox_populi.containers.torch_dtypes import TORCH_DTYPE_OF
from vox_populi.errors import ModelError
from vox_populi.files.new_file import write_new_file
from vox_populi.files.whole_file import Chunk, writing
from vox_populi.hf.weight_files import SINGLE_NAME
from vox_populi.merge.full_graph import (
    BlockChange,
    MergedTensor,
    merge_rows,
    require_finite,
)
from vox_populi.merge.receipt import TensorChange
from vox_populi.operator_messages import merge as say_merge

BLOCK_VALUES = 1 << 18
"""Values per block; a block of f32 stays in a core's L2 cache through sum, rounding and
statistics."""
_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PlacedTensor:
    """A tensor of the output and its name."""

    name: str
    parts: tuple[MergedTensor, ...]
    """What it consists of, in the order of its bytes; all experts of a layer are many parts."""
    shape: tuple[int, ...]

    @classmethod
    def of(cls, name: str, tensor: MergedTensor) -> PlacedTensor:
        """A tensor of one part."""
        return cls(name, (tensor,), tensor.source.shape)

    @property
    def dtype(self) -> str:
        """Number type, by its safetensors name."""
        return self.parts[0].dtype

    @property
    def n_bytes(self) -> int:
        """Size of its data."""
        return sum(part.n_bytes for part in self.parts)


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """One file of the output, laid out to the byte."""

    file: str
    preamble: bytes
    tensors: tuple[PlacedTensor, ...]
    """Tensors in the order of their bytes."""


def plan_shards(tensors: Sequence[PlacedTensor], max_shard_bytes: int) -> tuple[ShardPlan, ...]:
    """Split a model into files of limited size, in forward order, with the names used on the hub.

    Args:
        tensors: Tensors in forward order.
        max_shard_bytes: Largest size of the numbers in a file; a larger tensor gets its own file.
    """
    groups = list(_groups(tensors, max_shard_bytes))
    if len(groups) == 1:
        return (_plan_shard(SINGLE_NAME, groups[0]),)
    count = len(groups)
    return tuple(
        _plan_shard(f"model-{number:05}-of-{count:05}.safetensors", group)
        for number, group in enumerate(groups, 1)
    )


def plan_file(file: str, tensors: Sequence[PlacedTensor], metadata: Mapping[str, str]) -> ShardPlan:
    """Lay tensors out in one file, wider number types first, so that each is aligned.

    Args:
        file: Name of the file.
        tensors: What it holds.
        metadata: Text of the container's header.
    """
    ordered = sorted(tensors, key=lambda placed: -DTYPE_BITS[placed.dtype])
    preamble = container_preamble(
        {placed.name: (placed.dtype, placed.shape, placed.n_bytes) for placed in ordered},
        metadata,
    )
    return ShardPlan(file, preamble, tuple(ordered))


def index_json(shards: Sequence[ShardPlan]) -> dict[str, object] | None:
    """Content of `model.safetensors.index.json`; `None` for a single file."""
    if len(shards) == 1:
        return None
    weight_map = {placed.name: shard.file for shard in shards for placed in shard.tensors}
    total = sum(placed.n_bytes for shard in shards for placed in shard.tensors)
    return {
        "metadata": {"total_size": total},
        "weight_map": {name: weight_map[name] for name in sorted(weight_map)},
    }


@dataclass(frozen=True, slots=True)
class WrittenShard:
    """A file that was written; it is not synced to the disk yet."""

    path: Path
    digest: str
    """SHA-256 of the whole file, in hexadecimal."""
    changes: tuple[TensorChange, ...]


def write_shard(shard: ShardPlan, base: Path, folder: Path) -> WrittenShard:
    """Write one file and report the changes.

    Raises:
        ModelError: When the base cannot be read any more, or a sum is not finite.
        EnvironmentFailure: When the system refuses to write.
    """
    path = folder / shard.file
    changes: list[TensorChange] = []
    with writing(path):
        written = write_new_file(path, _chunks(shard, base, changes), synced=False)
    return WrittenShard(path, written.sha256, tuple(changes))


def _chunks(shard: ShardPlan, base: Path, changes: list[TensorChange]) -> Iterator[Chunk]:
    """The bytes of one file, in order; its changed tensors are appended to `changes`."""
    yield shard.preamble
    for placed in shard.tensors:
        for part in placed.parts:
            blocks: list[BlockChange] = []
            yield from _blocks(part, base, blocks)
            if blocks:
                name = placed.name if len(placed.parts) == 1 else part.source.name
                changes.append(_change(name, part, blocks))


def _groups(tensors: Sequence[PlacedTensor], limit: int) -> Iterator[list[PlacedTensor]]:
    group: list[PlacedTensor] = []
    size = 0
    for tensor in tensors:
        if group and size + tensor.n_bytes > limit:
            yield group
            group, size = [], 0
        group.append(tensor)
        size += tensor.n_bytes
    yield group


def _plan_shard(file: str, group: Sequence[PlacedTensor]) -> ShardPlan:
    return plan_file(file, group, {"format": "pt"})


def _blocks(tensor: MergedTensor, base: Path, changes: list[BlockChange]) -> Iterator[memoryview]:
    """The bytes of one tensor in order; the change of each block goes to `changes`."""
    source = tensor.source
    path = base / source.shard
    try:
        if tensor.rounded is not None:
            values_NI = tensor.rounded.values_NI()
            rows = iter(values_NI.split(_rows_of_block(source)))
            yield from _merged_blocks(tensor, rows, changes)
            return
        if isinstance(source, Mxfp4Info):
            for matrix in expert_matrices(base, source):
                yield from _merged_blocks(tensor, iter([matrix]), changes)
            return
        with open_ranges(path) as reader:
            if tensor.is_copied:
                yield from reader.blocks(source.start, source.n_bytes, _COPY_BYTES)
            else:
                yield from _merged_blocks(tensor, _stored_rows(reader, source), changes)
    except ValueError:
        raise ModelError(
            say_merge.merge_not_finite(source.name, tensor.dtype).at(str(path))
        ) from None


def _rows_of_block(source: TensorInfo) -> int:
    return max(1, BLOCK_VALUES // _width(source))


def _width(source: TensorInfo) -> int:
    """Columns of a matrix; a vector is one row."""
    return source.shape[-1]


def _stored_rows(reader: RangeReader, source: TensorInfo) -> Iterator[torch.Tensor]:
    """Rows of a matrix, block by block; each block overwrites the previous one."""
    width = _width(source)
    size = bytes_of_values(source.dtype, (_rows_of_block(source), width))
    for block in reader.blocks(source.start, source.n_bytes, size):
        yield values_of(block, source.dtype).view(-1, width)


def _merged_blocks(
    tensor: MergedTensor, rows: Iterator[torch.Tensor], changes: list[BlockChange]
) -> Iterator[memoryview]:
    """The rows with any update added, in the number type of the output."""
    first, dtype = 0, TORCH_DTYPE_OF[tensor.dtype]
    for values_NI in rows:
        if tensor.update is None:
            merged_NI = values_NI.to(dtype).contiguous()
            require_finite(merged_NI)
        else:
            merged_NI, change = merge_rows(values_NI, tensor.update, first, dtype)
            changes.append(change)
        yield bytes_of(merged_NI.contiguous())
        first += values_NI.shape[0]


def _change(name: str, tensor: MergedTensor, blocks: Sequence[BlockChange]) -> TensorChange:
    """The total change of a tensor from its blocks, in the order of its rows."""
    source = tensor.source
    n_values = source.shape[0] * source.shape[1]
    return TensorChange(
        name=name,
        dtype=tensor.dtype,
        shape=source.shape,
        max_delta=max(block.largest for block in blocks),
        mean_delta=sum(block.total for block in blocks) / n_values,
        changed_values=sum(block.changed_values for block in blocks),
        values=n_values,
        squared_delta=sum(block.squared_delta for block in blocks),
        squared_error=sum(block.squared_error for block in blocks),
    )
