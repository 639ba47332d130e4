"""8-bit AdamW: its quantiser against numpy and bitsandbytes, its steps against AdamW in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vox_populi.contract.optimizer_choice import (
    LEAST_QUANTISED,
    OPTIMIZERS,
    QUANT_BLOCK,
    OptimizerKind,
)
from vox_populi.contract.setting_groups import OptimizationSettings
from vox_populi.train.optimizers.adamw import AdamW
from vox_populi.train.optimizers.adamw8bit import AdamW8bit, dequantize, dynamic_map, quantize

FACTS = OPTIMIZERS[OptimizerKind.ADAMW8BIT]
ASKED = OptimizationSettings(optimizer=OptimizerKind.ADAMW8BIT, weight_decay=0.1)
ROUNDED = 1e-6
"""Of f32 beside f64, relative to the largest value."""
LARGEST_GAP = 0.04
"""Half of the widest distance between two levels (0.07), relative to a block's scale."""
FEW_STEPS_RTOL, FEW_STEPS_ATOL = 1e-4, 1e-6
"""Five updates of size 0.01 in f32 beside f64."""
SIGNS = pytest.mark.parametrize("signed", [True, False])


def ragged(*, signed: bool) -> Tensor:
    """Values of many magnitudes; no whole number of blocks."""
    generator = torch.Generator().manual_seed(0)
    shape = (17, 301)
    values = torch.randn(shape, generator=generator) * torch.rand(shape, generator=generator) ** 6
    return values if signed else values.square()


def nearest(values: Tensor, *, signed: bool) -> np.ndarray:
    """What is kept of the values, in float64, block by block and value by value."""
    levels = dynamic_map(signed=signed).double().numpy()
    flat = values.flatten().double().numpy()
    kept = np.empty_like(flat)
    for start in range(0, len(flat), QUANT_BLOCK):
        block = flat[start : start + QUANT_BLOCK]
        scale = np.abs(block).max()
        distances = np.abs(block[:, None] / scale - levels[None, :])
        kept[start : start + QUANT_BLOCK] = levels[distances.argmin(axis=1)] * scale
    return kept.reshape(values.shape)


@SIGNS
def test_every_value_is_kept_as_the_nearest_level_of_its_block(*, signed: bool) -> None:
    values = ragged(signed=signed)
    codes, scales = quantize(values, signed=signed)
    assert (codes.dtype, codes.shape) == (torch.uint8, values.shape)
    assert scales.shape == (20,)
    found = dequantize(codes, scales, signed=signed).double().numpy()
    expected = nearest(values, signed=signed)
    # Where f32 and f64 see another of two levels as the nearer, both are as near.
    off = np.abs(found - values.double().numpy()) - np.abs(expected - values.double().numpy())
    assert off.max() < ROUNDED * float(values.abs().max())
    assert np.abs(found - values.double().numpy()).max() > 0


@SIGNS
def test_every_float_has_the_code_that_a_search_finds(*, signed: bool) -> None:
    levels = dynamic_map(signed=signed)
    borders = (levels[1:] + levels[:-1]) / 2
    up, down = torch.tensor(2.0), torch.tensor(-2.0)
    cells = (torch.arange(1 << 16, dtype=torch.int32) << 16).view(torch.float32)
    near = [borders, borders.nextafter(up), borders.nextafter(down), levels, cells, -cells]
    values = torch.cat([each[each.abs() <= 1] for each in near])
    if not signed:
        values = values[values >= 0]
    # Each block has a 1 in it, so that values are not scaled.
    rows = F.pad(F.pad(values, (0, -len(values) % 255)).view(-1, 255), (1, 0), value=1.0)
    codes, scales = quantize(rows, signed=signed)
    assert bool((scales == 1).all())
    assert torch.equal(codes.long(), torch.bucketize(rows, borders))
    assert codes.unique().numel() == levels.unique().numel()


@SIGNS
def test_levels_and_values_are_those_of_bitsandbytes(*, signed: bool) -> None:
    peer = pytest.importorskip("bitsandbytes.functional", reason="needs bitsandbytes")
    levels = peer.create_dynamic_map(signed=signed)
    assert torch.equal(dynamic_map(signed=signed), levels)
    values = ragged(signed=signed)
    codes, scales = quantize(values, signed=signed)
    state = peer.QuantState(absmax=scales, code=levels, blocksize=QUANT_BLOCK, dtype=torch.float32)
    ours = dequantize(codes, scales, signed=signed)
    assert torch.equal(ours, peer.dequantize_blockwise(codes, state))
    packed, state = peer.quantize_blockwise(values, code=levels, blocksize=QUANT_BLOCK)
    assert torch.equal(scales, state.absmax)
    theirs = peer.dequantize_blockwise(packed, state)
    # Its CPU kernel rounds small values to levels that are farther off; ours never are.
    assert bool(((ours - values).abs() <= (theirs - values).abs() + ROUNDED).all())


@SIGNS
def test_zeros_stay_zeros(*, signed: bool) -> None:
    zeros = torch.zeros(2, QUANT_BLOCK)
    codes, scales = quantize(zeros, signed=signed)
    assert torch.equal(dequantize(codes, scales, signed=signed), zeros)
    fresh = torch.zeros_like(codes)
    assert torch.equal(dequantize(fresh, torch.zeros(2), signed=signed), zeros)


def gradients(shape: tuple[int, ...], steps: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=generator) for _ in range(steps)]


def test_a_step_is_that_of_adamw_with_moments_rounded_between_steps() -> None:
    start = torch.linspace(-1, 1, LEAST_QUANTISED).view(64, -1)
    trained = nn.Parameter(start.clone())
    optimizer = AdamW8bit({"a": trained}, ASKED)
    expected = start.double().numpy()
    first, second = np.zeros(start.shape), np.zeros(start.shape)
    for step, gradient in enumerate(gradients(tuple(start.shape), 5), start=1):
        trained.grad = gradient
        optimizer.step(0.01)
        g = gradient.double().numpy()
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
        spread = np.sqrt(second / (1 - 0.999**step)) + 1e-8
        expected = expected * (1 - 0.01 * 0.1) - 0.01 * first / (1 - 0.9**step) / spread
        state = optimizer.state
        # What is kept comes from the codes: a level beside the nearest is another value in both.
        for name, moment, signed in (("first", first, True), ("second", second, False)):
            codes, scales = state[f"{name}_codes.a"], state[f"{name}_scales.a"]
            kept = dequantize(codes, scales, signed=signed).double().numpy()
            blocks = np.abs(moment).reshape(-1, QUANT_BLOCK).max(axis=1)
            np.testing.assert_allclose(scales.double().numpy(), blocks, rtol=FEW_STEPS_RTOL)
            error = np.abs(kept - moment).reshape(-1, QUANT_BLOCK)
            assert (error <= LARGEST_GAP * blocks[:, None]).all()
            if name == "first":
                first = kept
            else:
                second = kept
    np.testing.assert_allclose(
        trained.detach().double().numpy(), expected, rtol=FEW_STEPS_RTOL, atol=FEW_STEPS_ATOL
    )
    assert not torch.allclose(trained, start)


def test_small_tensors_are_those_of_adamw() -> None:
    start = torch.linspace(-1, 1, LEAST_QUANTISED - 1)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizer = AdamW8bit({"a": ours}, ASKED)
    oracle = AdamW({"a": theirs}, OptimizationSettings(weight_decay=0.1))
    for gradient in gradients(tuple(start.shape), 3):
        ours.grad = theirs.grad = gradient
        optimizer.step(0.01)
        oracle.step(0.01)
    assert torch.equal(ours, theirs)
    assert optimizer.state.keys() == oracle.state.keys()
    assert not torch.equal(ours, start)


def test_most_of_the_memory_of_the_moments_is_saved() -> None:
    shape = (512, 64)
    assert FACTS.state_bytes([shape]) == 2 * (512 * 64 + 4 * 512 * 64 // 256)
    assert OPTIMIZERS[OptimizerKind.ADAMW].state_bytes([shape]) == 2 * 4 * 512 * 64
