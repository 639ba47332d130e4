"""A small gpt-oss as it is published: experts in MXFP4, written by code of the tests alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from tests_integration.foreign_models import write_foreign_model

NOT_CONVERTED = [
    "model.layers.*.self_attn",
    "model.layers.*.mlp.router",
    "model.embed_tokens",
    "lm_head",
]
"""What published folders say."""
_LEVELS = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])


def quantize_mxfp4(dense_NR: NDArray[np.float64]) -> tuple[torch.Tensor, torch.Tensor]:
    """Blocks and scales of rows, by the rule of the MX specification (section 6.3).

    The scale is the power of two of the largest magnitude, less that of the largest level; what is
    larger after that becomes the largest level.
    """
    blocks = dense_NR.reshape(*dense_NR.shape[:-1], -1, 32)
    largest = np.maximum(np.abs(blocks).max(axis=-1), 2.0**-100)
    exponents = np.floor(np.log2(largest)) - 2
    scaled = blocks / 2.0 ** exponents[..., None]
    codes = np.abs(np.abs(scaled)[..., None] - _LEVELS).argmin(axis=-1).astype(np.uint8)
    codes |= (scaled < 0).astype(np.uint8) << 3
    packed = codes[..., 0::2] | codes[..., 1::2] << 4
    return _tensor(packed), _tensor((exponents + 127).astype(np.uint8))


def _tensor(values: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))


def write_mxfp4_model(
    folder: Path,
    *,
    tokenizer: bool = False,
    spread: float = 1.0,
    dtype: torch.dtype = torch.float32,
    **changes: Any,
) -> PreTrainedModel:
    """Write a gpt-oss folder, pack its experts, and return the model before that.

    Args:
        folder: Made if it is not there.
        tokenizer: Write `tokenizer.json` too.
        spread: Factor of the matrices.
        dtype: Type of the dense tensors.
        changes: Fields of the config; widths must be multiples of 32.
    """
    sizes: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 32}
    model = write_foreign_model(
        folder, "gpt_oss", tokenizer=tokenizer, spread=spread, dtype=dtype, **{**sizes, **changes}
    )
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for name in [each for each in tensors if each.endswith(("gate_up_proj", "down_proj"))]:
        dense_EOI = tensors.pop(name).double().transpose(1, 2).numpy()
        blocks, scales = quantize_mxfp4(dense_EOI)
        tensors |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
    save_file(tensors, path, {"format": "pt"})
    change_config(
        folder,
        quantization_config={"quant_method": "mxfp4", "modules_to_not_convert": NOT_CONVERTED},
    )
    return model


def change_config(folder: Path, **changes: Any) -> None:
    """Set fields of a folder's config."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, **changes}, indent=2), encoding="utf-8")
