"""The NF4 format without torch: its levels, block sizes, group size and settings."""

from __future__ import annotations

from dataclasses import dataclass

NF4_LEVELS = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
"""Quantiles of the normal distribution, scaled to [-1, 1]; index 7 is an exact zero."""

BLOCK_SIZE = 64
BLOCK_SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
GROUP_SIZE = 256
"""Blocks whose magnitudes share one 8-bit scale under double quantisation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nf4Settings:
    """How a matrix is quantised."""

    block_size: int = BLOCK_SIZE
    """Values that share one magnitude."""
    double_quant: bool = True
    """The magnitudes are held in 8 bits."""
