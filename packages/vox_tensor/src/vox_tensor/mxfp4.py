"""MXFP4 in torch: the values that the bytes of a tensor stand for.

A byte holds two values, the first in its low half. bfloat16 has the exponents of float32, so every
value but those beyond its range is exact in it; the format: `mxfp4_format`.
Shape letters: G blocks of a row, ... any leading dimensions.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from vox_tensor.mxfp4_format import BLOCK, BLOCK_BYTES, E2M1_VALUES, NAN_SCALE, SCALE_BIAS


def dequantize_mxfp4(blocks: Tensor, scales: Tensor) -> Tensor:
    """The values of blocks, `[..., 32 * G]` in bfloat16; what is beyond its range is infinite.

    Args:
        blocks: `[..., G, 16]` bytes, two values each.
        scales: `[..., G]` bytes.

    Raises:
        ValueError: For shapes that do not belong together.
    """
    if blocks.shape != (*scales.shape, BLOCK_BYTES):
        message = f"blocks of shape {tuple(blocks.shape)} with scales of {tuple(scales.shape)}"
        raise ValueError(message)
    place = scales.to(torch.int32).mul_(256).unsqueeze(-1) + blocks
    pairs = _pairs().to(blocks.device)
    found = torch.index_select(pairs, 0, place.flatten()).view(torch.bfloat16)
    return found.view(*scales.shape[:-1], BLOCK * scales.shape[-1])


@cache
def _pairs() -> Tensor:
    """Both values of a byte, as the four bytes they take in bfloat16, at `256 * scale + byte`."""
    powers = [math.ldexp(1.0, each - SCALE_BIAS) for each in range(NAN_SCALE)]
    scales = torch.tensor([*powers, math.nan], dtype=torch.float64)
    values = torch.tensor(E2M1_VALUES, dtype=torch.float64)
    codes = torch.arange(256)
    pairs = values[torch.stack((codes & 15, codes >> 4), dim=-1)]
    table = (scales.view(-1, 1, 1) * pairs).to(torch.bfloat16)
    return table.view(-1).view(torch.int32)
