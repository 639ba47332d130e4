"""Tier B: the error of NF4 rounding, compared with bitsandbytes' published figures.

Figures: `tests/test_functional.py::test_4bit_quant` of bitsandbytes at 95f9af30, for N(0, 1).
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests_integration.tolerances import (
    NF4_BLOCK_ERROR,
    NF4_MEAN_ERROR,
    NF4_MEAN_RELATIVE_ERROR,
    NF4_NESTED_ERROR,
    NF4_NESTED_RELATIVE_ERROR,
    NF4_PUBLISHED_DIGITS,
    assert_close_number,
)
from vox_tensor.nf4 import BLOCK_SIZES, dequantize_nf4, quantize_nf4

ABSOLUTE_AT_64, RELATIVE_AT_64 = 0.072798, 0.203339
PUBLISHED = {
    32: (0.0677, 0.1897),
    128: (0.0768, 0.2152),
    256: (0.0803, 0.2261),
    4096: (0.0925, 0.2625),
}
RELATIVE_FLOOR = 1e-8
"""Added to every magnitude by the published measurement."""


def gaussian(seed: int) -> Tensor:
    return torch.randn(1024, 1024, generator=torch.Generator().manual_seed(seed))


def errors(weight: Tensor, block_size: int = 64, *, double_quant: bool) -> tuple[float, float]:
    """Mean absolute and mean relative error of one round trip."""
    quantized = quantize_nf4(weight, block_size=block_size, double_quant=double_quant)
    error = (dequantize_nf4(quantized) - weight).abs().double()
    relative = error / (weight.abs().double() + RELATIVE_FLOOR)
    return error.mean().item(), relative.mean().item()


@pytest.mark.parametrize("seed", range(4))
def test_nf4_errors_are_the_published_ones_at_block_64(seed: int) -> None:
    absolute, relative = errors(gaussian(seed), double_quant=False)
    assert_close_number(absolute, ABSOLUTE_AT_64, NF4_MEAN_ERROR)
    assert_close_number(relative, RELATIVE_AT_64, NF4_MEAN_RELATIVE_ERROR)


@pytest.mark.parametrize("block_size", PUBLISHED)
def test_nf4_errors_are_the_published_ones_at_other_blocks(block_size: int) -> None:
    absolute, _ = errors(gaussian(0), block_size, double_quant=False)
    assert_close_number(absolute, PUBLISHED[block_size][0], NF4_PUBLISHED_DIGITS)


def test_nf4_errors_grow_with_the_block() -> None:
    measured = [errors(gaussian(0), block_size, double_quant=False) for block_size in BLOCK_SIZES]
    for column in zip(*measured, strict=True):
        assert list(column) == sorted(column)
        assert column[0] < column[-1]


def test_double_quantisation_stays_within_its_bound_and_costs_something() -> None:
    weight = gaussian(0)
    plain, nested = (errors(weight, double_quant=on) for on in (False, True))
    assert plain != nested
    assert_close_number(nested[0], 0.0, NF4_NESTED_ERROR)
    assert_close_number(nested[1], 0.0, NF4_NESTED_RELATIVE_ERROR)


@pytest.mark.parametrize("block_size", BLOCK_SIZES)
def test_no_value_is_further_off_than_half_the_widest_gap(block_size: int) -> None:
    # Heavy tails: what a Gaussian hardly ever shows.
    weight = gaussian(5).pow(3)
    quantized = quantize_nf4(weight, block_size=block_size, double_quant=False)
    off = (dequantize_nf4(quantized) - weight).abs().view(-1, block_size).amax(dim=1)
    worst = (off / weight.abs().view(-1, block_size).amax(dim=1)).max().item()
    assert worst > 0
    assert_close_number(worst, 0.0, NF4_BLOCK_ERROR)
