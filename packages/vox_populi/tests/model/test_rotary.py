"""Rotations against numpy in float64: a part of each head, and LongRoPE's two lists."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from vox_populi.hf.rope_config import RopeKind, RopeSpec
from vox_populi.model.rotary import apply_rotary, query_table, rotary_table

HEAD_DIM = 8
PLAIN = RopeSpec(kind=RopeKind.DEFAULT, theta=100.0)
HALF = RopeSpec(kind=RopeKind.DEFAULT, theta=100.0, partial_factor=0.5)
LONGROPE = RopeSpec(
    kind=RopeKind.LONGROPE,
    theta=100.0,
    original_max_positions=4,
    attention_factor=1.25,
    partial_factor=0.5,
    short_factors=(1.0, 1.5),
    long_factors=(2.0, 5.0),
)


def rotated(x: np.ndarray, position: int, divisors: list[float], factor: float) -> np.ndarray:
    """The definition, pair by pair; features behind the last pair stay."""
    out = x.astype(np.float64).copy()
    n_pairs = len(divisors)
    for pair, divisor in enumerate(divisors):
        angle = position / (divisor * 100.0 ** (pair / n_pairs))
        cos, sin = factor * math.cos(angle), factor * math.sin(angle)
        first, second = float(x[pair]), float(x[pair + n_pairs])
        out[pair] = first * cos - second * sin
        out[pair + n_pairs] = second * cos + first * sin
    return out


def both_ways(
    spec: RopeSpec, dim: int, positions: list[int], offsets: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random heads and what becomes of them, with and without gradients."""
    x_THE = torch.randn(len(positions), 3, HEAD_DIM, generator=torch.Generator().manual_seed(0))
    table = rotary_table(spec, dim, torch.tensor(positions), offsets)
    with torch.no_grad():
        out = apply_rotary(x_THE, table)
    assert torch.equal(apply_rotary(x_THE.requires_grad_(), table), out)
    return x_THE.detach(), out


def check(
    spec: RopeSpec, positions: list[int], offsets: tuple[int, ...], divisors: list[list[float]]
) -> None:
    dim = 2 * len(divisors[0])
    x_THE, out = both_ways(spec, dim, positions, offsets)
    for token, position in enumerate(positions):
        for head in range(3):
            factor = spec.attention_factor or 1.0
            want = rotated(x_THE[token, head].numpy(), position, divisors[token], factor)
            np.testing.assert_allclose(out[token, head].numpy(), want, rtol=1e-5, atol=1e-5)


def test_all_of_a_head_or_its_first_features_are_rotated() -> None:
    places = [0, 1, 2]
    check(PLAIN, places, (0, 3), [[1.0] * 4] * 3)
    check(HALF, places, (0, 3), [[1.0] * 2] * 3)
    x_THE, out = both_ways(HALF, 4, places, (0, 3))
    assert torch.equal(out[..., 4:], x_THE[..., 4:])
    assert not torch.equal(out[1:, :, :4], x_THE[1:, :, :4])


@pytest.mark.parametrize("length", [3, 4, 5, 9])
def test_the_length_of_each_row_chooses_its_list(length: int) -> None:
    other = 2
    positions = [*range(length), *range(other)]
    divisors = [2.0, 5.0] if length > 4 else [1.0, 1.5]
    wanted = [divisors] * length + [[1.0, 1.5]] * other
    check(LONGROPE, positions, (0, length, length + other), wanted)


def test_a_continuation_is_as_long_as_what_it_continues() -> None:
    check(LONGROPE, [3, 4], (0, 2), [[2.0, 5.0]] * 2)
    check(LONGROPE, [2, 3], (0, 2), [[1.0, 1.5]] * 2)


def test_the_gradient_is_the_opposite_rotation() -> None:
    x_THE = torch.randn(2, 1, HEAD_DIM, dtype=torch.float64, requires_grad=True)
    table = rotary_table(LONGROPE, 4, torch.tensor([4, 5]), (0, 2))
    assert torch.autograd.gradcheck(lambda x: apply_rotary(x, table), (x_THE,))


def test_queries_grow_by_the_logarithm_of_their_place_in_first_contexts() -> None:
    spec = replace(PLAIN, original_max_positions=4, query_growth=0.5)
    positions = [0, 3, 4, 7, 8, 21]
    x_THE = torch.randn(len(positions), 3, HEAD_DIM, generator=torch.Generator().manual_seed(0))
    table = rotary_table(spec, HEAD_DIM, torch.tensor(positions), (0, len(positions)))
    queries = query_table(spec, table, torch.tensor(positions))
    plain_THE, grown_THE = (apply_rotary(x_THE, each).double().numpy() for each in (table, queries))
    growth = 1 + 0.5 * np.log([1, 1, 2, 2, 3, 6])
    np.testing.assert_allclose(grown_THE, plain_THE * growth[:, None, None], rtol=1e-5, atol=1e-5)
    assert query_table(PLAIN, table, torch.tensor(positions)) is table
