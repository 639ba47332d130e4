"""The numbers of a GGUF file, a few rows at a time, as a model folder stores them.

Quantised types are dequantised by the package `gguf` (extra `gguf`). llama.cpp's Llama models
store the rows of q and k pair by pair; here they get their own order back.
Shape letters: N rows as stored, I row width, H heads, E head dim.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vox_populi import extras
from vox_populi.containers.file_ranges import RangeReader, open_ranges
from vox_populi.containers.gguf_header import GgufTensor
from vox_populi.containers.gguf_types import PLAIN_TYPES
from vox_populi.containers.tensor_container import bytes_of
from vox_populi.containers.tensor_reader import is_finite, values_of
from vox_populi.containers.torch_dtypes import TORCH_DTYPE_OF
from vox_populi.errors import ModelError
from vox_populi.hf.gguf_tensors import PlacedTensor
from vox_populi.operator_messages import gguf as say
from vox_populi.operator_messages.tensors import GGUF_FILE, tensor_not_finite

_BLOCK_VALUES = 2**20
"""Values that are in memory at a time, as far as rows can be split."""


@dataclass(frozen=True, slots=True)
class WeightReader:
    """Reads the tensors of one file in one number type."""

    path: Path
    dtype: str
    """Type to write, by its name in safetensors files."""

    def chunks(self, placed: PlacedTensor) -> Iterator[memoryview]:
        """The bytes of a tensor as a safetensors file has them, in order.

        Raises:
            ModelError: When the file cannot be read any more, or a number is not finite or too
                large for the type.
        """
        where, name = str(self.path), placed.source.name
        with open_ranges(self.path) as reader:
            for values in _oriented(reader, placed):
                if not is_finite(values):
                    raise ModelError(tensor_not_finite(GGUF_FILE, where, name))
                written = values.to(TORCH_DTYPE_OF[self.dtype]).contiguous()
                if not is_finite(written):
                    raise ModelError(say.gguf_value_beyond(name, self.dtype).at(where))
                yield bytes_of(written)


def needs_dequantising(placed: PlacedTensor) -> bool:
    """Whether a tensor takes the extra `gguf` to read."""
    return placed.source.type.name not in PLAIN_TYPES


def _oriented(reader: RangeReader, placed: PlacedTensor) -> Iterator[Tensor]:
    """Blocks of a tensor in the order of the folder."""
    if not placed.key.transposed:
        yield from _row_blocks(reader, placed.source, placed.heads)
        return
    blocks = [block.clone() for block in _row_blocks(reader, placed.source, placed.heads)]
    yield torch.cat(blocks).t().contiguous()


def _row_blocks(reader: RangeReader, source: GgufTensor, heads: int | None) -> Iterator[Tensor]:
    """Rows in float32, whole heads at a time where their rows have to move."""
    step = max(1, _BLOCK_VALUES // source.shape[-1])
    n_rows = source.shape[0] if len(source.shape) > 1 or heads is not None else 1
    head_rows = 1 if heads is None else n_rows // heads
    step = max(step // head_rows, 1) * head_rows
    # A vector that belongs to heads (a bias of q) has one value for each row of the matrix.
    row_bytes = source.n_bytes // n_rows
    for data in reader.blocks(source.start, source.n_bytes, step * row_bytes):
        values = _values(data, source).reshape(len(data) // row_bytes, -1)
        if heads is not None:
            values = _halves_apart(values, head_rows)
        yield values if len(source.shape) > 1 else values.reshape(-1)


def _halves_apart(values_NI: Tensor, head_rows: int) -> Tensor:
    """Rows that are stored pair by pair, as the first halves of all pairs and then the second."""
    pairs = values_NI.reshape(-1, head_rows // 2, 2, values_NI.shape[-1])
    return pairs.swapaxes(1, 2).reshape(values_NI.shape)


def _values(data: memoryview, source: GgufTensor) -> Tensor:
    """Stored numbers in float32."""
    if source.type.name in PLAIN_TYPES:
        return values_of(data, source.type.name).float()
    gguf: Any = extras.load("gguf")
    kind = gguf.GGMLQuantizationType[source.type.name]
    raw = values_of(data, "U8").view(-1, source.row_bytes)
    with warnings.catch_warnings():
        # Numbers that are not finite are reported by name; numpy would warn about them first.
        warnings.simplefilter("ignore", RuntimeWarning)
        return torch.from_numpy(gguf.quants.dequantize(raw.numpy(), kind))
