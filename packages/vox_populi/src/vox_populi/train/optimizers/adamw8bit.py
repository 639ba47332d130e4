"""AdamW with 8-bit moments: Dettmers et al. 2021, "8-bit Optimizers via Block-wise Quantization".

Moments are one byte a value: the nearest of 256 values of the dynamic map, times the largest
magnitude of a block of 256 (arXiv 2110.02861, as in bitsandbytes). They are made 32-bit one
parameter at a time; the arithmetic and the parameters are those of AdamW. Tensors with fewer than
4096 values keep 32-bit moments (`contract.optimizer_choice`).

Shape letters: N blocks.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from vox_populi.contract.optimizer_choice import QUANT_BLOCK
from vox_populi.train.optimizers.optimizer import Optimizer

EPSILON = 1e-8
_DECADES = 7
_CELL_BITS, _CELLS = 16, 1 << 16


class AdamW8bit(Optimizer):
    """AdamW whose moments are quantised between steps."""

    betas = (0.9, 0.999)
    """Decay of the first and second moment."""

    def update(self, grads: list[Tensor], rate: float) -> None:
        """Change parameters and both moments, one parameter at a time."""
        for parameter, grad, kept in zip(self.parameters, grads, self.kept, strict=True):
            if "first_moment" in kept:
                self._move(parameter, grad, kept["first_moment"], kept["second_moment"], rate)
                continue
            first = dequantize(kept["first_codes"], kept["first_scales"], signed=True)
            second = dequantize(kept["second_codes"], kept["second_scales"], signed=False)
            self._move(parameter, grad, first, second, rate)
            for name, moment in (("first", first), ("second", second)):
                codes, scales = quantize(moment, signed=name == "first")
                kept[f"{name}_codes"].copy_(codes)
                kept[f"{name}_scales"].copy_(scales)

    def _move(
        self, parameter: Tensor, grad: Tensor, first: Tensor, second: Tensor, rate: float
    ) -> None:
        """A step of AdamW with moments in 32 bits, which change."""
        beta1, beta2 = self.betas
        first.lerp_(grad, 1 - beta1)
        second.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        spread = second.sqrt().div_((1 - beta2**self.steps) ** 0.5).add_(EPSILON)
        parameter.mul_(self.kept_share(rate))
        parameter.addcdiv_(first, spread, value=-rate / (1 - beta1**self.steps))


build = AdamW8bit


def quantize(values: Tensor, *, signed: bool) -> tuple[Tensor, Tensor]:
    """Codes in the shape of `values`, and the scale `[N]` of each block."""
    flat = values.flatten()
    blocks = F.pad(flat, (0, -len(flat) % QUANT_BLOCK)).view(-1, QUANT_BLOCK)
    scales_N = blocks.abs().amax(dim=1)
    # A block of zeros has nothing to scale.
    units = blocks / scales_N.masked_fill(scales_N == 0, 1.0).unsqueeze(1)
    units = units.flatten()[: len(flat)]
    book = _codebook(values.device, signed=signed)
    cells = units.view(torch.int32).bitwise_right_shift(_CELL_BITS).bitwise_and(_CELLS - 1)
    codes = book.lowest.index_select(0, cells)
    codes.add_(units > book.border.index_select(0, cells))
    return codes.view(values.shape), scales_N


def dequantize(codes: Tensor, scales_N: Tensor, *, signed: bool) -> Tensor:
    """The 32-bit values that codes and scales stand for."""
    levels = _codebook(codes.device, signed=signed).levels
    flat = levels.index_select(0, codes.flatten().int())
    scales = scales_N.repeat_interleave(QUANT_BLOCK)[: len(flat)]
    return flat.mul_(scales).view(codes.shape)


class _Codebook(NamedTuple):
    """Levels, and a table that finds the code of a value without a search.

    The upper 16 bits of a float32 are its cell. A cell is so narrow that it holds at most one
    border between two codes, so the code is the lowest one of the cell, or the next.
    """

    levels: Tensor
    lowest: Tensor
    """Code of the least value of each cell."""
    border: Tensor
    """Values of a cell above this have the next code."""


@cache
def _codebook(device: torch.device, *, signed: bool) -> _Codebook:
    levels = dynamic_map(signed=signed)
    borders = torch.cat([(levels[1:] + levels[:-1]) / 2, torch.tensor([torch.inf])])
    cells = torch.arange(_CELLS, dtype=torch.int32) << _CELL_BITS
    ends = torch.stack([cells, cells | ((1 << _CELL_BITS) - 1)]).view(torch.float32)
    # The cells of NaN and infinity are never asked for.
    least = ends.nan_to_num(0.0, 0.0, 0.0).amin(dim=0)
    lowest = torch.bucketize(least, borders[:-1])
    parts = (levels, lowest.to(torch.uint8), borders[lowest])
    return _Codebook(*(part.to(device) for part in parts))


@cache
def dynamic_map(*, signed: bool) -> Tensor:
    """The 256 levels from -1 (unsigned: from 0) to 1, ascending, of Dettmers 2016 (1511.04561).

    Each decade below 1 has twice as many levels as the next smaller one, evenly spaced: small
    values keep their order of magnitude, large ones their digits.
    """
    found = [0.0, 1.0]
    for decade in range(_DECADES):
        borders = torch.linspace(0.1, 1, 2 ** (decade if signed else decade + 1) + 1)
        means = (borders[:-1] + borders[1:]) / 2 * 10.0 ** (decade + 1 - _DECADES)
        found += means.tolist()
        if signed:
            found += (-means).tolist()
    return torch.tensor(sorted(found))
