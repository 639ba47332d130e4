"""The header of a safetensors file, read strictly and without reading a tensor.

The format: eight bytes with the header's length (little endian), a JSON object that gives each
tensor its dtype, shape and byte range, then the bytes themselves
(https://github.com/huggingface/safetensors#format). Stricter than the reference reader in four
points: repeated keys, files without a tensor, more than 16 dimensions and headers beyond 32 MiB
are refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from vox_populi.containers.dtypes import DTYPE_BITS, bits_of
from vox_populi.errors import ModelError
from vox_populi.files.model_file import open_model_file
from vox_populi.files.strict_json import parse_json_object
from vox_populi.operator_messages import model_folder as say
from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem
from vox_tensor.problem_log import ProblemLog

MAX_HEADER_BYTES = 32 * 1024 * 1024
"""Largest header: a third of the format's limit; that of a 70B model is about a tenth of a MiB."""
MAX_DIMENSIONS = 16

_LENGTH_BYTES = 8
_METADATA_KEY = "__metadata__"
_INFO_KEYS = {"dtype", "shape", "data_offsets"}
_MAX_DIMENSION = 2**63 - 1

# What people save under this name by mistake. Recognised by their first bytes, never opened.
_FOREIGN_FORMATS: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a zip archive (such as PyTorch's own format)"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x80\x02", "a pickle"),
    (b"\x80\x03", "a pickle"),
    (b"\x80\x04", "a pickle"),
    (b"\x80\x05", "a pickle"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF\r\n", "an HDF5 file"),
    (b"GGUF", "a GGUF file"),
    (b"\x1f\x8b", "a gzip file"),
    (b"version ", "a Git LFS pointer (run: git lfs pull)"),
    (b"<!DOCTYP", "a web page"),
)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Location, type and shape of one tensor."""

    name: str
    """Name as spelled in the file."""
    dtype: str
    """The format's name: `F32`, `BF16`, …"""
    shape: tuple[int, ...]
    shard: str
    """Name of the file that holds it, without a folder."""
    start: int
    """Absolute offset of its first byte in the file."""
    end: int

    @property
    def n_bytes(self) -> int:
        """Size of its data."""
        return self.end - self.start

    @property
    def parts(self) -> tuple[TensorInfo, ...]:
        """The stored tensors that it is made of; itself, where its bytes are its values."""
        return (self,)


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """The contents of a file according to its header; checked against the file's size."""

    tensors: Mapping[str, TensorInfo]
    """Tensors in the order of their data."""
    metadata: Mapping[str, str]
    data_start: int


def read_header(path: Path) -> SafetensorsHeader:
    """Read and check the header of one file.

    Raises:
        ModelError: When the file is missing, in another format, truncated or invalid.
    """
    with open_model_file(path) as file:
        data, file_size = _header_bytes(file, str(path))
    raw = parse_json_object(data, f"{path} (header)")
    data_start = _LENGTH_BYTES + len(data)
    metadata = _metadata(raw.pop(_METADATA_KEY, {}), path)
    tensors, problems = _tensors(raw, path, data_start)
    # Entries that were refused leave holes; only a complete list has a layout to check.
    if not problems:
        problems.add(_layout_problems(tensors, path, data_start, file_size))
    if problems:
        raise ModelError(*problems.shown())
    return SafetensorsHeader({t.name: t for t in tensors}, metadata, data_start)


def _header_bytes(handle: BufferedReader, where: str) -> tuple[bytes, int]:
    """The header's JSON and the size of the whole file."""
    file_size = os.fstat(handle.fileno()).st_size
    first = handle.read(_LENGTH_BYTES)
    length = int.from_bytes(first, "little")
    fits = len(first) == _LENGTH_BYTES and length <= file_size - _LENGTH_BYTES
    data = handle.read(length) if fits and length <= MAX_HEADER_BYTES else b""
    if data.startswith(b"{"):
        return data, file_size
    # Only now: the length of a sound header may spell another format's first bytes.
    for magic, kind in _FOREIGN_FORMATS:
        if first.startswith(magic):
            raise ModelError(say.container_foreign(kind).at(where))
    if not fits:
        reason = f"it is truncated: its header needs {length:,} bytes, but there are {file_size:,}"
    elif length > MAX_HEADER_BYTES:
        reason = f"its header has {length:,} bytes, more than {MAX_HEADER_BYTES:,}"
    else:
        reason = "its header is not a JSON object"
    raise ModelError(say.container_broken(reason).at(where))


def _metadata(value: object, path: Path) -> dict[str, str]:
    if isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
        return value
    raise ModelError(
        say.container_broken(f"{_METADATA_KEY} is not an object of strings").at(str(path))
    )


def _tensors(
    raw: Mapping[str, object], path: Path, data_start: int
) -> tuple[list[TensorInfo], ProblemLog]:
    """The valid entries in the order of their data, and the problems of the others."""
    found: list[TensorInfo] = []
    problems = ProblemLog(str(path))
    for name, entry in raw.items():
        reason = _why_refused(entry)
        if reason is None and isinstance(entry, dict):
            start, end = (data_start + offset for offset in entry["data_offsets"])
            shape = tuple(entry["shape"])
            found.append(TensorInfo(name, entry["dtype"], shape, path.name, start, end))
        else:
            reason = f"the tensor {clipped(name)} {reason}"
            problems.add([say.container_broken(reason).at(str(path))])
    found.sort(key=lambda info: (info.start, info.end))
    return found, problems


def _why_refused(entry: object) -> str | None:
    if not isinstance(entry, dict) or entry.keys() != _INFO_KEYS:
        return "does not have exactly dtype, shape and data_offsets"
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        return f"has the unknown dtype {clipped(dtype)}"
    if not (_are_sizes(shape) and len(shape) <= MAX_DIMENSIONS):
        return f"has the impossible shape {clipped(shape)}"
    if not (_are_sizes(offsets) and len(offsets) == 2):
        return f"has the impossible data_offsets {clipped(offsets)}"
    n_bytes = offsets[1] - offsets[0]
    if bits_of(dtype, shape) != 8 * n_bytes:
        return f"has {n_bytes} bytes, which is not {clipped(shape)} of {dtype}"
    return None


def _are_sizes(value: object) -> bool:
    return isinstance(value, list) and all(
        type(item) is int and 0 <= item <= _MAX_DIMENSION for item in value
    )


def _layout_problems(
    tensors: list[TensorInfo], path: Path, data_start: int, file_size: int
) -> Iterator[Problem]:
    """Problems of data that is not covered without gaps, overlaps or a tail."""
    position = data_start
    for info in tensors:
        if info.start != position:
            kind = "overlaps the one before it" if info.start < position else "follows a hole"
            yield say.container_broken(f"the tensor {clipped(info.name)} {kind}").at(str(path))
        position = info.end
    if not tensors:
        yield say.container_broken("it has no tensors").at(str(path))
    elif position > file_size:
        reason = f"it is cut short: {position:,} bytes are announced, {file_size:,} are there"
        yield say.container_broken(reason).at(str(path))
    elif position < file_size:
        reason = f"{file_size - position:,} bytes at its end belong to no tensor"
        yield say.container_broken(reason).at(str(path))
