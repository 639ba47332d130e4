"""The torch types for `dtypes`."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from vox_populi.containers.dtypes import CONFIG_NAME_OF

TORCH_DTYPE_OF: Mapping[str, torch.dtype] = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3": torch.float8_e4m3fn,
    "I16": torch.int16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I32": torch.int32,
    "F32": torch.float32,
    "I64": torch.int64,
    "F64": torch.float64,
}
"""Torch types by safetensors name; tensors of other types are not read."""

DTYPE_NAME_OF: Mapping[torch.dtype, str] = {each: name for name, each in TORCH_DTYPE_OF.items()}
"""The format's name of a type."""

TORCH_DTYPES: Mapping[str, torch.dtype] = {
    name: TORCH_DTYPE_OF[stored] for stored, name in CONFIG_NAME_OF.items()
}
"""Torch types by name in configs, plans and quant states: `float32`, `bfloat16` or `float16`."""
