"""Reading the header of a GGUF file: its metadata and the table of its tensors. No torch here.

The package `gguf` maps the file and trusts its counts, so a few damaged bytes can make it read for
hours or fill memory. Here every count is bounded, and checked against the file, before it is used.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from vox_populi.containers.gguf_types import GGML_TYPES, GgmlType
from vox_populi.errors import ModelError
from vox_populi.files.model_file import open_model_file
from vox_populi.operator_messages import gguf as say
from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_ALIGNMENT_KEY, _DEFAULT_ALIGNMENT = "general.alignment", 32

# Bounds far beyond any model.
_MAX_HEADER_BYTES = 256 * 2**20
_MAX_ENTRIES = 2**16
_MAX_TENSORS = 2**17
_MAX_NAME_BYTES = 2**16
_MAX_TEXTS = 2**22
_MAX_ALIGNMENT = 2**16
_MAX_DIMENSIONS = 4
_MAX_VALUES = 2**48

_SCALARS: Mapping[int, str] = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
"""Codes of `struct` and `array` by the format's number of a type."""
_BOOL, _TEXT, _ARRAY = 7, 8, 9

# Quoted, because `array` takes its parameter only in annotations.
GgufValue: TypeAlias = "bool | int | float | str | tuple[str, ...] | array[int] | array[float]"
"""A value of the metadata; lists of numbers and of booleans are arrays."""


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """An entry of the table of tensors."""

    name: str
    type: GgmlType
    shape: tuple[int, ...]
    """In the order of torch: rows first. Rows have whole blocks."""
    start: int
    """First byte in the file."""

    @property
    def row_bytes(self) -> int:
        """Size of a row as stored."""
        return self.shape[-1] // self.type.block * self.type.n_bytes

    @property
    def n_rows(self) -> int:
        """Number of rows; a vector has one."""
        return prod(self.shape[:-1])

    @property
    def n_bytes(self) -> int:
        """Size in the file."""
        return self.n_rows * self.row_bytes


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file says about itself."""

    path: Path
    metadata: Mapping[str, GgufValue]
    tensors: Mapping[str, GgufTensor]
    """In the order of the table."""


def read_gguf_header(path: Path) -> GgufHeader:
    """Read everything of a GGUF file but the numbers, within bounds.

    Raises:
        ModelError: For a file that cannot be read, or contradicts its format.
    """
    assert sys.byteorder == "little", "GGUF files of this kind are little-endian"
    with open_model_file(path) as file:
        return _read(path, _Reader(file, str(path)))


def _read(path: Path, reader: _Reader) -> GgufHeader:
    n_tensors, n_entries = _counts(reader)
    metadata: dict[str, GgufValue] = {}
    for _ in range(n_entries):
        key = reader.text(_MAX_NAME_BYTES)
        if key in metadata:
            raise ModelError(reader.broken(f"the key {clipped(key)} occurs twice"))
        metadata[key] = reader.value(reader.number("I"), key)
    entries = [_TableEntry.read(reader) for _ in range(n_tensors)]
    tensors = _placed(reader, entries, _alignment(reader, metadata))
    return GgufHeader(path, MappingProxyType(metadata), MappingProxyType(tensors))


def _counts(reader: _Reader) -> tuple[int, int]:
    if reader.take(len(MAGIC)) != MAGIC:
        raise ModelError(reader.broken("it does not start with GGUF"))
    version = reader.number("I")
    if version & 0xFFFF == 0:
        raise ModelError(reader.broken("its numbers are big-endian, which is not supported"))
    if version not in _VERSIONS:
        raise ModelError(
            reader.broken(f"it has version {version} of the format; 2 and 3 are supported")
        )
    n_tensors, n_entries = reader.number("Q"), reader.number("Q")
    if n_tensors > _MAX_TENSORS:
        raise ModelError(reader.broken(f"it announces {n_tensors:,} tensors"))
    if n_entries > _MAX_ENTRIES:
        raise ModelError(reader.broken(f"it announces {n_entries:,} entries of metadata"))
    return n_tensors, n_entries


def _alignment(reader: _Reader, metadata: Mapping[str, GgufValue]) -> int:
    value = metadata.get(_ALIGNMENT_KEY, _DEFAULT_ALIGNMENT)
    is_fit = type(value) is int and 1 <= value <= _MAX_ALIGNMENT and value & (value - 1) == 0
    if not is_fit:
        raise ModelError(reader.broken(f"{_ALIGNMENT_KEY} is {clipped(value)}, not a power of two"))
    assert isinstance(value, int)
    return value


class _Reader:
    """The bytes of a header, one after the other."""

    def __init__(self, file: BufferedReader, where: str) -> None:
        self._file, self._where = file, where
        self.size = file.seek(0, 2)
        file.seek(0)
        self.position = 0
        self._texts = 0

    def broken(self, reason: str) -> Problem:
        """The problem of a file that contradicts its format."""
        return say.gguf_broken(reason).at(self._where)

    def take(self, size: int) -> bytes:
        """The next bytes."""
        self._require(size)
        data = self._file.read(size)
        if len(data) < size:
            raise ModelError(self.broken("it became shorter while it was read"))
        self.position += size
        return data

    def number(self, code: str) -> int:
        """The next whole number, by its code of `struct`."""
        value: int = struct.unpack(f"<{code}", self.take(struct.calcsize(code)))[0]
        return value

    def text(self, limit: int = _MAX_HEADER_BYTES) -> str:
        """The next text."""
        size = self.number("Q")
        if size > limit:
            raise ModelError(self.broken(f"a name or text in it has {size:,} bytes"))
        try:
            return self.take(size).decode("utf-8")
        except UnicodeDecodeError:
            raise ModelError(self.broken("a name or text in it is not UTF-8")) from None

    def value(self, kind: int, key: str) -> GgufValue:
        """The next value of the metadata."""
        if kind == _TEXT:
            return self.text()
        if kind == _BOOL:
            return self.number("B") != 0
        if kind in _SCALARS:
            code = _SCALARS[kind]
            scalar: int | float = struct.unpack(f"<{code}", self.take(struct.calcsize(code)))[0]
            return scalar
        if kind == _ARRAY:
            return self._array(key)
        raise ModelError(self.broken(f"{clipped(key)} has the unknown type {kind}"))

    def _array(self, key: str) -> GgufValue:
        kind, count = self.number("I"), self.number("Q")
        if kind == _TEXT:
            self._texts += count
            # Each has at least its length.
            self._require(8 * count)
            if self._texts > _MAX_TEXTS:
                raise ModelError(self.broken(f"its lists have more than {_MAX_TEXTS:,} texts"))
            return tuple(self.text() for _ in range(count))
        code = "B" if kind == _BOOL else _SCALARS.get(kind)
        if code is None:
            raise ModelError(self.broken(f"{clipped(key)} is a list of the type {kind}"))
        # `array` has the sizes of C, which are those of the format for all these codes.
        numbers = array(code)
        numbers.frombytes(self.take(count * numbers.itemsize))
        return numbers

    def _require(self, size: int) -> None:
        if self.position + size > self.size:
            raise ModelError(self.broken("it ends before its header does"))
        if self.position + size > _MAX_HEADER_BYTES:
            raise ModelError(self.broken(f"its header is larger than {_MAX_HEADER_BYTES:,} bytes"))


@dataclass(frozen=True, slots=True)
class _TableEntry:
    """A tensor before the place of the numbers is known."""

    name: str
    type: GgmlType
    shape: tuple[int, ...]
    offset: int

    @classmethod
    def read(cls, reader: _Reader) -> _TableEntry:
        name = reader.text(_MAX_NAME_BYTES)
        n_dimensions = reader.number("I")
        if not 1 <= n_dimensions <= _MAX_DIMENSIONS:
            raise ModelError(
                reader.broken(f"the tensor {clipped(name)} has {n_dimensions} dimensions")
            )
        sizes = [reader.number("Q") for _ in range(n_dimensions)]
        code, offset = reader.number("I"), reader.number("Q")
        known = GGML_TYPES.get(code)
        if known is None:
            raise ModelError(
                reader.broken(f"the tensor {clipped(name)} has the unknown type {code}")
            )
        if min(sizes) < 1 or prod(sizes) > _MAX_VALUES:
            raise ModelError(reader.broken(f"the tensor {clipped(name)} is {clipped(sizes[::-1])}"))
        if sizes[0] % known.block:
            reason = f"has rows of {sizes[0]}, which are not whole blocks of {known.name}"
            raise ModelError(reader.broken(f"the tensor {clipped(name)} {reason}"))
        # The format lists the length of a row first.
        return cls(name, known, tuple(sizes[::-1]), offset)


def _placed(reader: _Reader, entries: list[_TableEntry], alignment: int) -> dict[str, GgufTensor]:
    """The tensors at their places, which must be inside the file and apart."""
    first = -(-reader.position // alignment) * alignment
    tensors: dict[str, GgufTensor] = {}
    for entry in entries:
        name = clipped(entry.name)
        if entry.name in tensors:
            raise ModelError(reader.broken(f"the tensor {name} occurs twice"))
        if entry.offset % alignment:
            raise ModelError(
                reader.broken(f"the tensor {name} starts at {entry.offset:,}, which is not aligned")
            )
        tensor = GgufTensor(entry.name, entry.type, entry.shape, first + entry.offset)
        if tensor.start + tensor.n_bytes > reader.size:
            raise ModelError(
                reader.broken(f"the tensor {name} ends after the file, which may be truncated")
            )
        tensors[entry.name] = tensor
    for name in _overlapping(tensors):
        raise ModelError(reader.broken(f"the tensor {clipped(name)} overlaps another"))
    return tensors


def _overlapping(tensors: Mapping[str, GgufTensor]) -> Iterator[str]:
    end = 0
    for tensor in sorted(tensors.values(), key=lambda each: each.start):
        if tensor.start < end:
            yield tensor.name
        end = tensor.start + tensor.n_bytes
