"""NF4 against its definition: hand-computed blocks, and plain Python or float64 formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vox_tensor.nf4 import (
    BLOCK_SIZES,
    GROUP_SIZE,
    NF4_LEVELS,
    NestedScales,
    Nf4Tensor,
    dequantize_nf4,
    dynamic_levels,
    quantize_nf4,
)

Near = Callable[[Tensor | None, Tensor | None], None]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
SHAPES = [(1,), (3,), (7, 9), (33, 65), (300, 400), (1025, 1025)]
"""The last is more than one tile of either direction; most have a short last block."""


def weights(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def unpacked(quantized: Nf4Tensor) -> Tensor:
    """One code per value; the high nibble of a byte has the even value."""
    codes = quantized.codes.view(-1).long()
    return torch.stack((codes >> 4, codes & 15), dim=1).view(-1)[: quantized.n_values]


def per_value(scale_B: Tensor, n: int, block_size: int) -> Tensor:
    return scale_B.repeat_interleave(block_size)[:n]


def plain_scales(quantized: Nf4Tensor) -> Tensor:
    assert isinstance(quantized.scales, Tensor)
    return quantized.scales


def nested_scales(quantized: Nf4Tensor) -> NestedScales:
    assert isinstance(quantized.scales, NestedScales)
    return quantized.scales


def test_levels_are_quantiles_of_the_normal_distribution(assert_near_f32: Near) -> None:
    # Appendix E of the paper: 8 levels above zero, 7 below, evenly spread in probability up to
    # the mean of 1 - 1/32 and 1 - 1/30.
    edge = (1 - 1 / 32 + 1 - 1 / 30) / 2
    quantile = NormalDist().inv_cdf
    above = [quantile(edge + (0.5 - edge) * i / 8) for i in range(8)]
    below = [-quantile(edge + (0.5 - edge) * i / 7) for i in range(7)]
    levels = sorted([*above, 0.0, *below])
    expected = torch.tensor([level / max(levels) for level in levels])
    assert_near_f32(torch.tensor(NF4_LEVELS), expected)
    assert NF4_LEVELS[7] == 0.0


def test_one_block_by_hand() -> None:
    values = [0.0] * 32
    values[:6] = [2.0, -2.0, 1.0, -1.0, 0.1, 0.0]
    quantized = quantize_nf4(torch.tensor(values), block_size=32, double_quant=False)
    # Halved: 1, -1, 0.5, -0.5, 0.05, 0; nearest levels 15, 0, 12 (0.441), 2 (-0.525), 8, 7.
    assert quantized.codes.shape == (16, 1)
    assert quantized.codes.view(-1)[:4].tolist() == [0xF0, 0xC2, 0x87, 0x77]
    assert plain_scales(quantized).tolist() == [2.0]
    dense = dequantize_nf4(quantized)
    assert dense[:3].tolist() == [2.0, -2.0, 2 * NF4_LEVELS[12]]
    assert dense[5:].eq(0).all()


def test_a_value_on_a_midpoint_goes_to_the_lower_level_and_the_next_float_above_it_does_not() -> (
    None
):
    levels = torch.tensor(NF4_LEVELS)
    midpoints = (levels[:-1] + levels[1:]) / 2
    above = torch.nextafter(midpoints, torch.tensor(math.inf))
    below = torch.nextafter(midpoints, torch.tensor(-math.inf))
    for values, expected in ((midpoints, 0), (below, 0), (above, 1)):
        block = torch.cat((torch.ones(17), values))
        quantized = quantize_nf4(block, block_size=32, double_quant=False)
        assert unpacked(quantized)[17:].tolist() == [i + expected for i in range(15)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_value_gets_its_nearest_level(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    weight = weights(*shape, dtype=dtype)
    quantized = quantize_nf4(weight, double_quant=False)
    flat, n = weight.view(-1), weight.numel()
    blocks = [flat[i : i + 64] for i in range(0, n, 64)]
    assert torch.equal(
        plain_scales(quantized), torch.stack([b.abs().max() for b in blocks]).float()
    )
    scaled = flat.double() / per_value(plain_scales(quantized), n, 64).double()
    # Distances in float64, to all 16 levels; a near tie may go either way in float32.
    distance = (scaled.unsqueeze(1) - torch.tensor(NF4_LEVELS, dtype=torch.float64)).abs()
    chosen = distance.gather(1, unpacked(quantized).unsqueeze(1)).squeeze(1)
    assert bool((chosen <= distance.amin(dim=1) + torch.finfo(torch.float32).eps).all())
    assert quantized.shape == shape
    assert quantized.dtype == dtype
    assert quantized.codes.shape == ((n + 1) // 2, 1)


@pytest.mark.parametrize("block_size", BLOCK_SIZES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("double_quant", [False, True])
def test_dense_values_are_level_times_magnitude_rounded_once(
    shape: tuple[int, ...], block_size: int, double_quant: bool
) -> None:
    weight = weights(*shape)
    quantized = quantize_nf4(weight, block_size=block_size, double_quant=double_quant)
    levels = torch.tensor(NF4_LEVELS)[unpacked(quantized)]
    exact = levels * per_value(quantized.absmax_B(), weight.numel(), block_size)
    for dtype in (*DTYPES, torch.float64):
        dense = dequantize_nf4(quantized, dtype)
        assert dense.dtype == dtype
        assert torch.equal(dense, exact.view(shape).to(dtype))
    assert bool((exact != 0).any())


def test_a_kept_buffer_is_written_into() -> None:
    quantized = quantize_nf4(weights(20, 30))
    expected = dequantize_nf4(quantized, torch.bfloat16)
    kept = torch.full((20, 30), 7.0, dtype=torch.bfloat16)
    assert dequantize_nf4(quantized, torch.bfloat16, kept) is kept
    assert torch.equal(kept, expected)


@pytest.mark.parametrize(
    "out",
    [torch.empty(30, 20), torch.empty(20, 30).bfloat16(), torch.empty(30, 20).t()],
    ids=["shape", "dtype", "strides"],
)
def test_a_buffer_that_does_not_fit_is_refused(out: Tensor) -> None:
    with pytest.raises(ValueError, match="out must be contiguous"):
        dequantize_nf4(quantize_nf4(weights(20, 30)), torch.float32, out)


def test_a_transposed_view_is_quantised_in_its_own_order() -> None:
    weight = weights(48, 80)
    turned, copied = quantize_nf4(weight.t()), quantize_nf4(weight.t().contiguous())
    assert torch.equal(turned.codes, copied.codes)
    assert not torch.equal(turned.codes, quantize_nf4(weight).codes)


def test_codes_at_an_odd_place_in_memory_are_read_as_well() -> None:
    quantized = quantize_nf4(weights(5, 64), double_quant=False)
    expected = dequantize_nf4(quantized)
    shifted = torch.cat((torch.zeros(1, 1, dtype=torch.uint8), quantized.codes))[1:]
    moved = Nf4Tensor(codes=shifted, scales=quantized.scales, shape=(5, 64))
    assert torch.equal(dequantize_nf4(moved), expected)


# --- double quantisation ------------------------------------------------------------------


def test_the_8_bit_map_is_the_papers() -> None:
    # Sign, then zeros that count the exponent down, then a linear fraction (1511.04561, 2.1).
    levels = dynamic_levels()
    assert levels.shape == (256,)
    assert levels[-1] == 1.0
    assert bool((levels[1:] > levels[:-1]).all())
    positive = [v for v in levels.tolist() if 0 < v < 1]
    # The decade that ends at 10^(e - 6) holds 2^e of them.
    counts = [sum(10.0 ** (e - 7) < v < 10.0 ** (e - 6) for v in positive) for e in range(7)]
    assert counts == [2**e for e in range(7)]
    assert 0.0 in levels.tolist()
    negative = sorted(-v for v in levels.tolist() if v < 0)
    assert negative == sorted(positive)


@pytest.mark.parametrize("n_blocks", [1, 5, 256, 257, 1000])
def test_magnitudes_in_8_bits_stay_within_half_a_gap(n_blocks: int) -> None:
    weight = weights(n_blocks, 64) * torch.linspace(0.5, 3.0, n_blocks).unsqueeze(1)
    exact_B = plain_scales(quantize_nf4(weight, double_quant=False))
    quantized = quantize_nf4(weight)
    scales, decoded_B = nested_scales(quantized), quantized.absmax_B()
    centred = (exact_B - scales.offset).split(GROUP_SIZE)
    assert torch.equal(scales.absmax_G, torch.stack([group.abs().max() for group in centred]))
    widest = max(b - a for a, b in pairwise(scales.levels.tolist()))
    # A cell of the look-up table (2^-16 from its middle) and f32 rounding on top.
    bound = per_value(scales.absmax_G, n_blocks, GROUP_SIZE) * (widest / 2 + 2**-15)
    rounding = exact_B * torch.finfo(torch.float32).eps * 2
    assert bool(((decoded_B - exact_B).abs() <= bound + rounding).all())
    assert torch.equal(quantized.codes, quantize_nf4(weight, double_quant=False).codes)
    if n_blocks > 1:
        assert not torch.equal(decoded_B, exact_B)


def test_memory_is_half_a_byte_a_value_and_the_magnitudes() -> None:
    weight = weights(512, 512)
    n, n_blocks = weight.numel(), weight.numel() // 64
    assert quantize_nf4(weight, double_quant=False).n_bytes == n // 2 + 4 * n_blocks
    tables = 4 * 256 + 4
    assert quantize_nf4(weight).n_bytes == n // 2 + n_blocks + 4 * n_blocks // 256 + tables


def test_moving_keeps_every_part() -> None:
    for double_quant in (False, True):
        quantized = quantize_nf4(weights(6, 50), double_quant=double_quant)
        moved = quantized.to("meta")
        assert {moved.codes.device.type, moved.absmax_B().device.type} == {"meta"}
        assert moved.double_quant is double_quant
        assert torch.equal(dequantize_nf4(quantized.to("cpu")), dequantize_nf4(quantized))


# --- adversarial values -------------------------------------------------------------------


@pytest.mark.parametrize("double_quant", [False, True])
@pytest.mark.parametrize("n", [1, 63, 64, 1000, 64 * 300])
def test_zeros_stay_zeros(n: int, double_quant: bool) -> None:
    dense = dequantize_nf4(quantize_nf4(torch.zeros(n), double_quant=double_quant))
    assert torch.equal(dense.abs(), torch.zeros(n))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_spike_is_exact_and_flattens_only_its_own_block(dtype: torch.dtype) -> None:
    weight = weights(4, 64, dtype=dtype)
    weight[1, 5] = -torch.finfo(dtype).max
    quantized = quantize_nf4(weight, double_quant=False)
    dense = dequantize_nf4(quantized, dtype)
    assert dense[1, 5] == weight[1, 5]
    assert int(dense[1].count_nonzero()) == 1
    calm = quantize_nf4(weights(4, 64, dtype=dtype), double_quant=False)
    assert torch.equal(dense[2:], dequantize_nf4(calm, dtype)[2:])
    assert bool(torch.isfinite(dequantize_nf4(quantize_nf4(weight))).all())


def test_denormals_become_zeros_and_nothing_worse() -> None:
    weight = weights(2, 64) * 1e-39
    quantized = quantize_nf4(weight, double_quant=False)
    assert bool((weight != 0).any())
    dense = dequantize_nf4(quantized)
    assert bool(torch.isfinite(dense).all())
    assert bool(((dense - weight).abs() <= 1e-38).all())
    assert bool(torch.isfinite(dequantize_nf4(quantize_nf4(weight))).all())


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [0, 70, 129])
def test_what_is_not_finite_is_refused(bad: float, at: int) -> None:
    weight = weights(130)
    quantize_nf4(weight)
    weight[at] = bad
    with pytest.raises(ValueError, match="not finite"):
        quantize_nf4(weight)


def test_magnitudes_whose_sum_overflows_are_refused_under_double_quantisation_only() -> None:
    weight = torch.full((4, 64), 3e38)
    assert torch.equal(dequantize_nf4(quantize_nf4(weight, double_quant=False)), weight)
    with pytest.raises(ValueError, match="too large"):
        quantize_nf4(weight)


def test_other_block_sizes_and_dtypes_and_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="block size 48"):
        quantize_nf4(weights(96), block_size=48)
    with pytest.raises(ValueError, match="float64"):
        quantize_nf4(weights(96).double())
    with pytest.raises(ValueError, match="nothing to quantise"):
        quantize_nf4(weights(0, 4))


# --- memory -------------------------------------------------------------------------------


class LargestTensor(TorchDispatchMode):
    """The largest memory, in bytes, that any operation made rather than was given."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        self.n_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = {_memory(v) for v in (*args, *kwargs.values()) if isinstance(v, Tensor)}
        result = func(*args, **kwargs)
        if isinstance(result, Tensor) and _memory(result) not in given:
            self.n_bytes = max(self.n_bytes, result.numel() * result.element_size())
        return result


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def test_temporaries_do_not_grow_with_the_matrix() -> None:
    weight = weights(2048, 3000, dtype=torch.bfloat16)
    n = weight.numel()
    with LargestTensor() as quantising:
        quantized = quantize_nf4(weight)
    # The packed codes are the largest thing made; one int64 a value would be 16 times that.
    assert quantising.n_bytes == n // 2
    kept = torch.zeros(weight.shape, dtype=torch.bfloat16)
    with LargestTensor() as widening:
        dequantize_nf4(quantized, torch.bfloat16, kept)
    assert 0 < widening.n_bytes <= 4 * (1 << 20)
    assert widening.n_bytes < kept.numel()
    assert bool(kept.count_nonzero())
