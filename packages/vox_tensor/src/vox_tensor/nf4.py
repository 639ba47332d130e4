"""4-bit NormalFloat: quantising and dequantising in bitsandbytes' layout, bit for bit.

NF4 (Dettmers et al. 2023, arXiv 2305.14314, appendix E) stores a weight as an index into 16
levels times the largest magnitude of its block. Double quantisation stores those magnitudes in
8 bits again, in groups of 256 around their mean. No modules and no autograd here.

Shape letters: N values of a tensor, B blocks, G groups of 256 blocks, O output features,
I input features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from math import prod

import torch
from torch import Tensor

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

_SMALLEST_SCALE = 1e-38
"""bitsandbytes divides by no less, so that a block of zeros stays one."""
_TILE_VALUES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class NestedScales:
    """Double-quantised block magnitudes: `levels[codes] * absmax + offset`."""

    codes_B: Tensor
    """uint8 index into `levels` per block."""
    absmax_G: Tensor
    """float32, largest distance from the mean per group of 256 blocks."""
    levels: Tensor
    """float32 `[256]`: the dynamic 8-bit map (Dettmers 2015, arXiv 1511.04561)."""
    offset: Tensor
    """float32 scalar: the mean of the magnitudes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nf4Tensor:
    """A quantised matrix: what it takes to make it dense again."""

    codes: Tensor
    """uint8 `[ceil(N / 2), 1]`; the even value is the high nibble."""
    scales: Tensor | NestedScales
    """float32 `[B]`, the largest magnitude of each block, or those in 8 bits."""
    shape: tuple[int, ...]
    """Of the dense matrix, `[O, I]`; blocks run over its values row by row."""
    block_size: int = BLOCK_SIZE
    dtype: torch.dtype = torch.float32
    """Of the values it was made from; what bitsandbytes calls the quant state's dtype."""

    @property
    def n_values(self) -> int:
        """Values of the dense matrix."""
        return prod(self.shape)

    @property
    def double_quant(self) -> bool:
        """Whether the block magnitudes are quantised as well."""
        return isinstance(self.scales, NestedScales)

    @property
    def n_bytes(self) -> int:
        """Memory of codes and scales."""
        scales = self.scales
        parts = (
            (scales.codes_B, scales.absmax_G, scales.levels, scales.offset)
            if isinstance(scales, NestedScales)
            else (scales,)
        )
        return sum(t.numel() * t.element_size() for t in (self.codes, *parts))

    def absmax_B(self) -> Tensor:
        """The block magnitudes in float32, `[B]`."""
        scales = self.scales
        if not isinstance(scales, NestedScales):
            return scales
        wide = scales.levels[scales.codes_B.long()]
        per_block = scales.absmax_G.repeat_interleave(GROUP_SIZE)[: wide.numel()]
        return wide.mul_(per_block).add_(scales.offset)

    def to(self, device: torch.device | str) -> Nf4Tensor:
        """The same values on a device."""
        scales = self.scales
        moved = (
            NestedScales(
                codes_B=scales.codes_B.to(device),
                absmax_G=scales.absmax_G.to(device),
                levels=scales.levels.to(device),
                offset=scales.offset.to(device),
            )
            if isinstance(scales, NestedScales)
            else scales.to(device)
        )
        return replace(self, codes=self.codes.to(device), scales=moved)


def quantize_nf4(
    weight: Tensor, *, block_size: int = BLOCK_SIZE, double_quant: bool = True
) -> Nf4Tensor:
    """Quantise a float32, bfloat16 or float16 tensor.

    Args:
        weight: Any shape; blocks run over its values in row-major order. Finite.
        block_size: One of `BLOCK_SIZES`.
        double_quant: Keep the block magnitudes in 8 bits.

    Raises:
        ValueError: For another block size or dtype.
    """
    if block_size not in BLOCK_SIZES:
        message = f"block size {block_size} is none of {BLOCK_SIZES}"
        raise ValueError(message)
    if weight.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        message = f"cannot quantise {weight.dtype}"
        raise ValueError(message)
    flat = weight.detach().reshape(-1)
    tile = _TILE_VALUES
    pieces = [_quantize_tile(flat[i : i + tile], block_size) for i in range(0, flat.numel(), tile)]
    codes = torch.cat([codes for codes, _ in pieces]).unsqueeze(1)
    absmax_B = torch.cat([absmax for _, absmax in pieces])
    return Nf4Tensor(
        codes=codes,
        scales=_quantize_scales(absmax_B) if double_quant else absmax_B,
        shape=tuple(weight.shape),
        block_size=block_size,
        dtype=weight.dtype,
    )


def dequantize_nf4(
    quantized: Nf4Tensor, dtype: torch.dtype = torch.float32, out: Tensor | None = None
) -> Tensor:
    """The dense matrix: `NF4_LEVELS[code] * absmax` in float32, rounded once to `dtype`.

    Args:
        quantized: The codes.
        dtype: Of the result.
        out: A contiguous tensor of the result's shape and dtype to write into.
    """
    levels = _levels(quantized.codes.device)
    codes = quantized.codes.reshape(-1)
    absmax_B, n, size = quantized.absmax_B(), quantized.n_values, quantized.block_size
    if out is None:
        out = torch.empty(quantized.shape, dtype=dtype, device=codes.device)
    flat = out.view(-1)
    for start in range(0, n, _TILE_VALUES):
        stop = min(start + _TILE_VALUES, n)
        packed = codes[start // 2 : (stop + 1) // 2].long()
        wide = torch.stack((levels[packed >> 4], levels[packed & 15]), dim=1)
        wide = wide.view(-1)[: stop - start]
        whole = (stop - start) // size * size
        first = start // size
        scale = absmax_B[first : first + whole // size].unsqueeze(1)
        torch.mul(wide[:whole].view(-1, size), scale, out=wide[:whole].view(-1, size))
        if whole < stop - start:
            wide[whole:].mul_(absmax_B[first + whole // size])
        flat[start:stop].copy_(wide)
    return out


def _quantize_tile(flat: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    """Codes, packed, and block magnitudes of some whole blocks and, at the end, a shorter one."""
    values = flat.float()
    whole = values.numel() // block_size * block_size
    body = values[:whole].view(-1, block_size)
    absmax_B = body.abs().amax(dim=-1) if whole else values.new_empty(0)
    scaled = torch.clamp(body * (1.0 / absmax_B.clamp(min=_SMALLEST_SCALE).unsqueeze(1)), -1, 1)
    scaled = scaled.reshape(-1)
    if whole < values.numel():
        # The shorter block is divided, not multiplied by a reciprocal, and its magnitude is
        # never zero: bitsandbytes' own rounding.
        rest = values[whole:]
        scale = rest.abs().amax().clamp(min=_SMALLEST_SCALE)
        absmax_B = torch.cat((absmax_B, scale.unsqueeze(0)))
        scaled = torch.cat((scaled, torch.clamp(rest / scale, -1, 1)))
    if scaled.numel() % 2:
        scaled = torch.nn.functional.pad(scaled, (0, 1))
    codes = torch.bucketize(scaled, _bounds(flat.device), out_int32=True).to(torch.uint8)
    return (codes[::2] << 4) | codes[1::2], absmax_B


def _quantize_scales(absmax_B: Tensor) -> NestedScales:
    offset = absmax_B.mean()
    centred_B = absmax_B - offset
    levels = dynamic_levels().to(absmax_B.device)
    n_groups = -(-centred_B.numel() // GROUP_SIZE)
    padded = torch.nn.functional.pad(centred_B, (0, n_groups * GROUP_SIZE - centred_B.numel()))
    groups = padded.view(n_groups, GROUP_SIZE)
    absmax_G = groups.abs().amax(dim=-1)
    reciprocal = 1.0 / absmax_G.clamp(min=_SMALLEST_SCALE).unsqueeze(1)
    scaled = torch.clamp(groups * reciprocal, -1, 1).reshape(-1)[: centred_B.numel()]
    bounds = (levels[:-1] + levels[1:]) / 2
    codes_B = torch.bucketize(scaled, bounds, out_int32=True).to(torch.uint8)
    return NestedScales(codes_B=codes_B, absmax_G=absmax_G, levels=levels, offset=offset)


@cache
def dynamic_levels() -> Tensor:
    """The 256 levels of bitsandbytes' signed dynamic 8-bit map, sorted, float32."""
    levels: list[float] = []
    for exponent in range(7):
        bounds = torch.linspace(0.1, 1, 2**exponent + 1, dtype=torch.float32)
        means = (bounds[:-1] + bounds[1:]) / 2.0
        scale = 10 ** (exponent - 6)
        levels += (scale * means).tolist()
        levels += (-scale * means).tolist()
    levels += [0.0, 1.0]
    return torch.tensor(sorted(levels), dtype=torch.float32)


@cache
def _levels(device: torch.device) -> Tensor:
    return torch.tensor(NF4_LEVELS, dtype=torch.float32, device=device)


@cache
def _bounds(device: torch.device) -> Tensor:
    """Midpoints between neighbouring levels; a value on one goes to the lower level."""
    levels = _levels(device)
    return (levels[:-1] + levels[1:]) / 2
