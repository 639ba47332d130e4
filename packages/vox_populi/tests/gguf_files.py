"""GGUF files made of plain Python, byte by byte, so that any of them can be wrong."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

F32 = 0
_CODES = {"u8": (0, "B"), "i8": (1, "b"), "u32": (4, "I"), "i32": (5, "i"), "f32": (6, "f")}
_CODES |= {"u64": (10, "Q"), "f64": (12, "d")}


class Number(NamedTuple):
    """A number of a given type; plain integers are u32 and floats f32."""

    kind: str
    value: float


class Tensor(NamedTuple):
    """An entry of the table, and its bytes."""

    name: str
    sizes: Sequence[int]
    """As the format lists them: the length of a row first."""
    data: bytes
    kind: int = F32
    offset: int | None = None
    """`None`: right behind the one before."""


def text(value: str | bytes) -> bytes:
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def value_bytes(value: object) -> bytes:
    """Type and content of a value."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return struct.pack("<IB", 7, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    if isinstance(value, list):
        items = [value_bytes(item) for item in value]
        first = items[0][:4] if items else struct.pack("<I", 4)
        count = struct.pack("<Q", len(items))
        return struct.pack("<I", 9) + first + count + b"".join(item[4:] for item in items)
    if isinstance(value, Number):
        number, code = _CODES[value.kind]
        return struct.pack("<I", number) + struct.pack(f"<{code}", value.value)
    kind = "f32" if isinstance(value, float) else "u32"
    assert isinstance(value, (int, float))
    return value_bytes(Number(kind, value))


def gguf_bytes(
    metadata: Mapping[str, object] | Sequence[tuple[str, object]] = (),
    tensors: Sequence[Tensor] = (),
    *,
    alignment: int = 32,
    version: int = 3,
) -> bytes:
    """A whole file."""
    entries = list(metadata.items()) if isinstance(metadata, Mapping) else list(metadata)
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries))
    head += b"".join(text(key) + value_bytes(value) for key, value in entries)
    data = b""
    for tensor in tensors:
        offset = len(data) if tensor.offset is None else tensor.offset
        head += text(tensor.name) + struct.pack("<I", len(tensor.sizes))
        head += struct.pack(f"<{len(tensor.sizes)}Q", *tensor.sizes)
        head += struct.pack("<IQ", tensor.kind, offset)
        data += tensor.data + bytes(-len(tensor.data) % alignment)
    return head + bytes(-len(head) % alignment) + data
