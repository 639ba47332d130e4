"""4-bit NormalFloat: quantising and dequantising in bitsandbytes' layout, bit for bit.

NF4 (Dettmers et al. 2023, arXiv 2305.14314, appendix E) stores a weight as an index into 16
levels times the largest magnitude of its block. Double quantisation stores those magnitudes in
8 bits again, in groups of 256 around their mean. No modules and no autograd here.

Codes and scales equal those of bitsandbytes 0.50 on the CPU in the same process, with three
caveats. Its 8-bit codes come from a table of 65536 cells, so that a magnitude within 2^-16 of a
midpoint may go to the farther level; other devices and versions search for the nearest. The mean
of more than 32768 magnitudes depends in its last bit on the number of threads. And its CPU
dequantiser restarts the blocks at every row: if a row is not a multiple of the block size, it
disagrees with its own quantiser, with its other devices, and with us.

There is no reader for the source system's NF4 (even value in the low nibble, one scale for all
block scales): its adapters contain only f32 tensors and it never wrote a quantised base.

Shape letters: N values of a tensor, B blocks, G groups of 256 blocks, O output features,
I input features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from math import prod

import torch
from torch import Tensor

from vox_tensor.nf4_levels import BLOCK_SIZE, BLOCK_SIZES, GROUP_SIZE, NF4_LEVELS

__all__ = [
    "BLOCK_SIZE",
    "BLOCK_SIZES",
    "GROUP_SIZE",
    "NF4_LEVELS",
    "NestedScales",
    "Nf4Tensor",
    "dequantize_nf4",
    "dynamic_levels",
    "quantize_nf4",
]

_SMALLEST_SCALE = 1e-38
"""The smallest divisor of bitsandbytes, so that a block of zeros stays one."""
_TILE_VALUES = 1 << 20
"""Values dequantised at a time: whole groups of the largest block, little memory next to the
result."""
_TILE_VALUES_ON_GPU = 1 << 24
"""The same on other devices than a CPU, where each operation on a tile is a launch: 64 MiB."""
_QUANTIZE_TILE_VALUES = 1 << 18
_N_CELLS = 64
"""The cells of [-1, 1] in which a value's neighbouring midpoint is looked up."""
_N_SCALE_CELLS = 1 << 16


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
    """A quantised matrix: everything needed to make it dense again."""

    codes: Tensor
    """uint8 `[ceil(N / 2), 1]`; the even value is the high nibble."""
    scales: Tensor | NestedScales
    """The largest magnitude of each block: float32 `[B]`, or double-quantised."""
    shape: tuple[int, ...]
    """Shape of the dense matrix, `[O, I]`; blocks run over its values row by row."""
    block_size: int = BLOCK_SIZE
    dtype: torch.dtype = torch.float32
    """Dtype of the values it was made from; what bitsandbytes calls the quant state's dtype."""

    @property
    def n_values(self) -> int:
        """Number of values of the dense matrix."""
        return prod(self.shape)

    @property
    def double_quant(self) -> bool:
        """Whether the block magnitudes are quantised as well."""
        return isinstance(self.scales, NestedScales)

    def tensors(self) -> tuple[Tensor, ...]:
        """The codes, then what the scales consist of."""
        scales = self.scales
        if not isinstance(scales, NestedScales):
            return self.codes, scales
        return self.codes, scales.codes_B, scales.absmax_G, scales.levels, scales.offset

    @property
    def n_bytes(self) -> int:
        """Memory of codes and scales."""
        return sum(t.numel() * t.element_size() for t in self.tensors())

    def absmax_B(self) -> Tensor:
        """The block magnitudes in float32, `[B]`."""
        scales = self.scales
        if not isinstance(scales, NestedScales):
            return scales
        wide_B = scales.levels.index_select(0, scales.codes_B.int())
        _scale_blocks(wide_B, scales.absmax_G, GROUP_SIZE)
        return wide_B.add_(scales.offset)

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

    Works in tiles: besides the result there is one tile in float32, and a copy of `weight` if it
    is not contiguous. A block whose magnitude is below 1e-38 becomes zeros. With double
    quantisation, one huge block can use so much of the 8-bit range that the smallest blocks of
    the tensor get a magnitude of zero or slightly below, as in bitsandbytes.

    Args:
        weight: Any shape; blocks run over its values in row-major order. Finite.
        block_size: One of `BLOCK_SIZES`.
        double_quant: Keep the block magnitudes in 8 bits.

    Raises:
        ValueError: For an unsupported block size or dtype, no values, values that are not finite,
            and with double quantisation magnitudes whose sum is not finite (bitsandbytes stores
            NaN).
    """
    _check_quantizable(weight, block_size)
    flat = weight.detach().reshape(-1)
    is_cpu = flat.device.type == "cpu"
    n, tile = flat.numel(), _QUANTIZE_TILE_VALUES if is_cpu else _TILE_VALUES_ON_GPU
    codes = torch.empty((n + 1) // 2, dtype=torch.uint8, device=flat.device)
    absmax_B = torch.empty(-(-n // block_size), device=flat.device)
    for start in range(0, n, tile):
        stop = min(start + tile, n)
        blocks = slice(start // block_size, -(-stop // block_size))
        scaled = _scale_to_unit(flat[start:stop].float(), absmax_B[blocks], block_size)
        # Checked before the codes: a NaN is in no cell.
        if not bool(torch.isfinite(absmax_B[blocks]).all()):
            message = "cannot quantise values that are not finite"
            raise ValueError(message)
        codes[start // 2 : (stop + 1) // 2] = _pack(_nearest_codes(scaled))
    return Nf4Tensor(
        codes=codes.unsqueeze(1),
        scales=_quantize_scales(absmax_B) if double_quant else absmax_B,
        shape=tuple(weight.shape),
        block_size=block_size,
        dtype=weight.dtype,
    )


def dequantize_nf4(
    quantized: Nf4Tensor, dtype: torch.dtype = torch.float32, out: Tensor | None = None
) -> Tensor:
    """The dense matrix: `NF4_LEVELS[code] * absmax` in float32, rounded once to `dtype`.

    float16 cannot hold a magnitude that 8 bits rounded up past 65504: it becomes infinite.

    Args:
        quantized: The codes.
        dtype: Dtype of the result.
        out: A contiguous tensor of the result's shape and dtype to write into; much faster than
            fresh memory if the matrix is large.

    Raises:
        ValueError: When `out` does not fit.
    """
    device = quantized.codes.device
    if out is None:
        out = torch.empty(quantized.shape, dtype=dtype, device=device)
    check_out(out, quantized, dtype)
    flat, codes = out.detach().view(-1), quantized.codes.reshape(-1)
    absmax_B, n, size = quantized.absmax_B(), quantized.n_values, quantized.block_size
    is_f32, tile = dtype == torch.float32, tile_values(device)
    scratch = flat if is_f32 else torch.empty(min(n, tile), device=device)
    for start in range(0, n, tile):
        stop = min(start + tile, n)
        wide = flat[start:stop] if is_f32 else scratch[: stop - start]
        _look_up(codes[start // 2 : (stop + 1) // 2], wide)
        _scale_blocks(wide, absmax_B[start // size : -(-stop // size)], size)
        if not is_f32:
            flat[start:stop].copy_(wide)
    return out


def tile_values(device: torch.device) -> int:
    """Values that are dequantised at a time on a device."""
    return _TILE_VALUES if device.type == "cpu" else _TILE_VALUES_ON_GPU


def _check_quantizable(weight: Tensor, block_size: int) -> None:
    if block_size not in BLOCK_SIZES:
        message = f"block size {block_size} is none of {BLOCK_SIZES}"
        raise ValueError(message)
    if weight.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        message = f"cannot quantise {weight.dtype}"
        raise ValueError(message)
    if weight.numel() == 0:
        message = f"nothing to quantise in a tensor of shape {tuple(weight.shape)}"
        raise ValueError(message)


def check_out(out: Tensor, quantized: Nf4Tensor, dtype: torch.dtype) -> None:
    """Refuse a buffer that `dequantize_nf4` cannot write into.

    Raises:
        ValueError: For another shape or dtype, or one that is not contiguous.
    """
    fits = out.shape == quantized.shape and out.dtype == dtype and out.is_contiguous()
    if not fits:
        message = (
            f"out must be contiguous {dtype} of shape {quantized.shape}, "
            f"not {out.dtype} of shape {tuple(out.shape)}"
        )
        raise ValueError(message)


def _scale_to_unit(values: Tensor, absmax_B: Tensor, block_size: int) -> Tensor:
    """The values over their block's largest magnitude, which is written to `absmax_B`."""
    whole = values.numel() // block_size * block_size
    n_whole = whole // block_size
    body = values[:whole].view(-1, block_size)
    if whole:
        torch.amax(body.abs(), dim=-1, out=absmax_B[:n_whole])
    reciprocal = 1.0 / absmax_B[:n_whole].clamp(min=_SMALLEST_SCALE)
    scaled = torch.empty_like(values)
    torch.mul(body, reciprocal.unsqueeze(1), out=scaled[:whole].view(-1, block_size))
    if whole < values.numel():
        # The shorter block is divided, not multiplied by a reciprocal, and its magnitude is
        # never zero: bitsandbytes' own rounding.
        absmax_B[n_whole] = values[whole:].abs().amax().clamp(min=_SMALLEST_SCALE)
        torch.div(values[whole:], absmax_B[n_whole], out=scaled[whole:])
    return scaled.clamp_(-1, 1)


def _nearest_codes(scaled: Tensor) -> Tensor:
    """int32 index of the nearest level; a value on a midpoint goes to the lower one.

    No cell of [-1, 1] contains two midpoints, so a value's code is the number of midpoints in
    the cells before its own, plus one if it is above the midpoint in its own cell. However the
    value rounds, its cell never decreases as it grows: this equals a binary search.
    """
    below, midpoint = _cells(scaled.device)
    cell = _cell_of(scaled)
    codes = below.index_select(0, cell)
    return codes.add_(scaled > midpoint.index_select(0, cell))


def _cell_of(scaled: Tensor) -> Tensor:
    return (scaled + 1).mul_(_N_CELLS / 2).int()


@cache
def _cells(device: torch.device) -> tuple[Tensor, Tensor]:
    """Per cell: the number of midpoints in the cells before it, and its own (2 if it has none)."""
    levels = torch.tensor(NF4_LEVELS)
    midpoints = (levels[:-1] + levels[1:]) / 2
    # Computed exactly like the cell of a value, rounding included: a value at or below a midpoint
    # then never gets a later cell, and one above it never an earlier one.
    own = _cell_of(midpoints)
    assert own.unique().numel() == own.numel(), "a cell with two midpoints"
    cells = torch.arange(_N_CELLS + 1)
    below = (own < cells.unsqueeze(1)).sum(dim=1).int()
    midpoint = torch.full((cells.numel(),), 2.0)
    midpoint[own] = midpoints
    return below.to(device), midpoint.to(device)


def _pack(codes: Tensor) -> Tensor:
    """Two codes per byte, the even one in the high nibble; a missing last one is zero."""
    if codes.numel() % 2:
        # What a padding zero quantises to: bitsandbytes pads the values, not the codes.
        codes = torch.nn.functional.pad(codes, (0, 1), value=NF4_LEVELS.index(0.0))
    pairs = codes.view(-1, 2)
    return torch.add(pairs[:, 1], pairs[:, 0], alpha=16).to(torch.uint8)


def _look_up(codes: Tensor, into: Tensor) -> None:
    """Write the levels of packed codes, two bytes and so four values per lookup."""
    whole = into.numel() // 4 * 4
    if whole:
        head = codes[: whole // 2]
        if head.storage_offset() % 2:
            head = head.clone()
        pairs = head.view(torch.uint16).int()
        torch.index_select(_four_levels(codes.device), 0, pairs, out=into[:whole].view(-1, 4))
    if whole < into.numel():
        rest = _two_levels(codes.device).index_select(0, codes[whole // 2 :].int())
        into[whole:] = rest.view(-1)[: into.numel() - whole]


def _scale_blocks(values: Tensor, scale_B: Tensor, block_size: int) -> None:
    """Multiply each block, the last of which may be shorter, by its scale in place."""
    n_whole = values.numel() // block_size
    whole = n_whole * block_size
    values[:whole].view(-1, block_size).mul_(scale_B[:n_whole].unsqueeze(1))
    if whole < values.numel():
        values[whole:].mul_(scale_B[n_whole])


@cache
def _two_levels(device: torch.device) -> Tensor:
    """float32 `[256, 2]`: the two values of a byte."""
    levels, byte = torch.tensor(NF4_LEVELS), torch.arange(256)
    return torch.stack((levels[byte >> 4], levels[byte & 15]), dim=1).to(device)


@cache
def _four_levels(device: torch.device) -> Tensor:
    """float32 `[65536, 4]`, 1 MiB: the four values of two bytes, in this machine's byte order."""
    two_bytes = torch.arange(1 << 16).to(torch.uint16).view(torch.uint8).int()
    return _two_levels(torch.device("cpu"))[two_bytes].view(-1, 4).to(device)


def _mean(absmax_B: Tensor) -> Tensor:
    """The mean, summed on the CPU by one thread: its last bit depends on the order of adding."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return absmax_B.cpu().mean().to(absmax_B.device)
    finally:
        torch.set_num_threads(threads)


def _quantize_scales(absmax_B: Tensor) -> NestedScales:
    offset = _mean(absmax_B)
    if not bool(torch.isfinite(offset)):
        message = "the block magnitudes are too large for double quantisation"
        raise ValueError(message)
    centred_B = absmax_B - offset
    levels = dynamic_levels().to(absmax_B.device)
    n_groups = -(-centred_B.numel() // GROUP_SIZE)
    padded = torch.nn.functional.pad(centred_B, (0, n_groups * GROUP_SIZE - centred_B.numel()))
    groups = padded.view(n_groups, GROUP_SIZE)
    absmax_G = groups.abs().amax(dim=-1)
    # 0 * inf, in a group that is all zero or all but, becomes the first level: bitsandbytes'
    # own. Decoded it is still the mean, for the scale of such a group is zero or next to it.
    scaled = groups.mul_((1.0 / absmax_G).unsqueeze(1)).nan_to_num_(nan=-1.0).clamp_(-1, 1)
    cell = scaled.add_(1).mul_(0.5).mul_(_N_SCALE_CELLS - 1).add_(0.5).int()
    codes_B = _scale_codes(absmax_B.device).index_select(0, cell.view(-1)[: absmax_B.numel()])
    return NestedScales(codes_B=codes_B, absmax_G=absmax_G, levels=levels, offset=offset)


@cache
def _scale_codes(device: torch.device) -> Tensor:
    """uint8 `[65536]`: the nearest 8-bit level for the middle of each cell of [-1, 1]."""
    levels = dynamic_levels()
    midpoints = (levels[:-1] + levels[1:]) / 2
    middle = torch.arange(_N_SCALE_CELLS).float().mul_(2).div_(_N_SCALE_CELLS - 1).sub_(1)
    return torch.bucketize(middle, midpoints).to(torch.uint8).to(device)


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
