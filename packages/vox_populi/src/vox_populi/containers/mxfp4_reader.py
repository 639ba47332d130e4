"""Reading a tensor that is stored in MXFP4, one expert after another.

Letters: I input features, O output features; blocks are along the input.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from vox_populi.containers.file_ranges import RangeReader, open_ranges
from vox_populi.containers.mxfp4_info import Mxfp4Info
from vox_populi.containers.safetensors_header import TensorInfo
from vox_populi.errors import ModelError
from vox_populi.operator_messages import mxfp4 as say
from vox_tensor.mxfp4 import dequantize_mxfp4
from vox_tensor.mxfp4_format import NAN_SCALE


def read_mxfp4(folder: Path, info: Mxfp4Info) -> Tensor:
    """The dense tensor, `[E, I, O]` or `[I, O]`; beside it, one expert is in memory at a time.

    Raises:
        ModelError: As `expert_matrices`.
    """
    dense = torch.empty(info.shape, dtype=torch.bfloat16)
    places = dense.view(-1, *info.shape[-2:])
    for place, matrix_IO in zip(places, expert_matrices(folder, info), strict=True):
        place.copy_(matrix_IO)
    return dense


def expert_matrices(folder: Path, info: Mxfp4Info) -> Iterator[Tensor]:
    """The matrix of each expert in turn, `[I, O]` in bfloat16.

    Raises:
        ModelError: For a scale that stands for NaN, or a file that cannot be read any more.
    """
    blocks, scales = info.blocks, info.scales
    with open_ranges(folder / blocks.shard) as one, open_ranges(folder / scales.shard) as other:
        for expert in range(blocks.shape[0]):
            scales_OG = _part(other, scales, expert)
            if bool((scales_OG == NAN_SCALE).any()):
                where = str(folder / scales.shard)
                raise ModelError(say.mxfp4_scale_is_nan(scales.name, info.name).at(where))
            yield dequantize_mxfp4(_part(one, blocks, expert), scales_OG).t()


def _part(reader: RangeReader, info: TensorInfo, number: int) -> Tensor:
    """One entry of the first dimension of a tensor of bytes."""
    size = info.n_bytes // info.shape[0]
    data = reader.read(info.start + number * size, size)
    return torch.frombuffer(data, dtype=torch.uint8).view(info.shape[1:])
