"""The number types of tensors: their names in containers and configs, and how wide they are.

The one table of the workspace; `torch_dtypes` has torch's half. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

DTYPE_BITS: Mapping[str, int] = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U16": 16,
    "I16": 16,
    "F16": 16,
    "BF16": 16,
    "U32": 32,
    "I32": 32,
    "F32": 32,
    "C64": 64,
    "U64": 64,
    "I64": 64,
    "F64": 64,
}
"""Bits of one value, by the safetensors format's name of the type."""

CONFIG_NAME_OF: Mapping[str, str] = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""The types of stored weights, and their names in configs, quant states and torch.

Each of them fits a float32 exactly.
"""
STORED_NAME_OF: Mapping[str, str] = {name: stored for stored, name in CONFIG_NAME_OF.items()}
"""The inverse of `CONFIG_NAME_OF`."""
BYTES_OF_VALUE: Mapping[str, int] = {
    name: DTYPE_BITS[stored] // 8 for stored, name in CONFIG_NAME_OF.items()
}
"""Width of a value by the name in configs."""


def bits_of(dtype: str, shape: Sequence[int]) -> int:
    """Size of a tensor's data in bits; `dtype` is the format's name."""
    return DTYPE_BITS[dtype] * prod(shape)


def bytes_of_values(dtype: str, shape: Sequence[int]) -> int:
    """Size of a tensor's data in bytes; `dtype` is the format's name."""
    return bits_of(dtype, shape) // 8
