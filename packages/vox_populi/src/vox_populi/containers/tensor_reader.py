"""Reading tensors out of safetensors files, and the check that their values are finite.

Bytes are read into the tensors themselves, not mapped (decision 0025): a mapped tensor changes
when somebody writes into its file, and its pages count as this process's memory beside a copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from vox_populi.containers.file_ranges import RangeReader, open_ranges
from vox_populi.containers.mxfp4_info import Mxfp4Info
from vox_populi.containers.mxfp4_reader import read_mxfp4
from vox_populi.containers.safetensors_header import TensorInfo
from vox_populi.containers.torch_dtypes import TORCH_DTYPE_OF
from vox_populi.errors import ModelError
from vox_populi.operator_messages import model_folder as say


def read_tensor(path: Path, info: TensorInfo) -> Tensor:
    """One tensor of a file, in its stored dtype and shape, on the CPU.

    One in MXFP4 comes dense, in bfloat16; its parts may be in two files of a folder.

    Raises:
        ModelError: When the file cannot be read, or is shorter than its header declares; for a
            scale of MXFP4 that stands for NaN.
    """
    if isinstance(info, Mxfp4Info):
        return read_mxfp4(path.parent, info)
    return read_tensors(path, {info.name: info})[info.name]


def read_tensors(path: Path, infos: Mapping[str, TensorInfo]) -> dict[str, Tensor]:
    """Tensors of one file, by the keys of `infos`, in their stored dtypes, on the CPU.

    Raises:
        ModelError: As `read_tensor`, and for a type that torch does not have.
    """
    with open_ranges(path) as reader:
        return {key: _read(reader, info) for key, info in infos.items()}


def read_rows(path: Path, info: TensorInfo, first: int, count: int) -> Tensor:
    """Some rows of a matrix of a file, in its stored dtype, on the CPU.

    Args:
        path: The file.
        info: The matrix; not empty.
        first: The first of the rows.
        count: How many rows the result has; those that the matrix does not have are zeros.

    Raises:
        ModelError: As `read_tensors`.
    """
    n_rows, *width = info.shape
    row_bytes = info.n_bytes // n_rows
    data = bytearray(count * row_bytes)
    there = max(min(count, n_rows - first), 0)
    with open_ranges(path) as reader:
        _require_type(reader, info)
        reader.fill(memoryview(data)[: there * row_bytes], info.start + first * row_bytes)
    return values_of(data, info.dtype).view(count, *width)


def values_of(data: bytearray | memoryview, dtype: str) -> Tensor:
    """A vector over bytes that were read; it shares their memory.

    Args:
        data: Not empty.
        dtype: The format's name of the type.
    """
    return torch.frombuffer(data, dtype=TORCH_DTYPE_OF[dtype])


def is_finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite: one pass and no temporary.

    A NaN anywhere is both the minimum and the maximum.
    """
    if tensor.numel() == 0:
        return True
    return all(bool(bound.isfinite()) for bound in torch.aminmax(tensor))


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of the tensors with a NaN or an infinity."""
    return [name for name, tensor in tensors.items() if not is_finite(tensor)]


def _read(reader: RangeReader, info: TensorInfo) -> Tensor:
    _require_type(reader, info)
    if info.n_bytes == 0:
        return torch.empty(info.shape, dtype=TORCH_DTYPE_OF[info.dtype])
    return values_of(reader.read(info.start, info.n_bytes), info.dtype).view(info.shape)


def _require_type(reader: RangeReader, info: TensorInfo) -> None:
    if info.dtype not in TORCH_DTYPE_OF:
        reason = f"the tensor {info.name} has the type {info.dtype}, which is not supported"
        raise ModelError(say.container_broken(reason).at(str(reader.path)))
