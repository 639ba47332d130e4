"""Sums against exact rational arithmetic, on devices with float64 and as if without."""

from __future__ import annotations

import math

import pytest
import torch

from vox_tensor.wide_sum import Float64Sum, TwoFloatSum, has_float64, wide_sum

CPU = torch.device("cpu")


def draw(count: int, seed: int) -> torch.Tensor:
    """Losses over eleven orders of magnitude."""
    generator = torch.Generator().manual_seed(seed)
    exponents = torch.randint(-3, 8, (count,), generator=generator).float()
    return torch.rand(count, generator=generator) * 10**exponents


def stated_bound(count: int) -> float:
    """The bound on the relative error that `TwoFloatSum` documents."""
    return 2.0**-24 + math.log2(max(count, 2)) ** 2 * 2.0**-48


@pytest.mark.parametrize("count", [1, 2, 3, 255, 256, 1000, 4097])
@pytest.mark.parametrize("seed", range(5))
def test_without_float64_a_sum_is_rounded_once(count: int, seed: int) -> None:
    values = draw(count, seed)
    running = TwoFloatSum(CPU)
    for part in values.split(256):
        running.add(part)
    exact = math.fsum(values.tolist())
    total = running.total()
    assert total.dtype == torch.float32
    assert total.shape == ()
    assert abs(total.item() - exact) <= stated_bound(count) * exact


def test_small_values_behind_a_large_one_are_not_lost() -> None:
    values = torch.ones(4096)
    values[0] = 2.0**24
    one_by_one = torch.zeros(())
    for value in values:
        one_by_one = one_by_one + value
    running = TwoFloatSum(CPU)
    running.add(values)
    assert running.total().item() == 2.0**24 + 4096
    assert one_by_one.item() == 2.0**24, "adding one by one in float32 loses them all"


def test_nothing_sums_to_zero_and_what_is_not_finite_stays_so() -> None:
    assert TwoFloatSum(CPU).total().item() == 0.0
    for bad in (math.inf, math.nan):
        running = TwoFloatSum(CPU)
        running.add(torch.tensor([1.0, bad, 2.0]))
        assert not math.isfinite(running.total().item())


@pytest.mark.parametrize(
    ("device", "expected"), [("cpu", True), ("cuda", True), ("mps", False), ("xpu", False)]
)
def test_float64_is_used_only_where_it_is_known_to_be(device: str, *, expected: bool) -> None:
    assert has_float64(torch.device(device)) is expected


def test_the_device_decides_how_is_added() -> None:
    assert isinstance(wide_sum(CPU), Float64Sum)
    assert isinstance(wide_sum(torch.device("mps")), TwoFloatSum)


def test_with_float64_the_sum_is_exact_beyond_float32() -> None:
    values = draw(1000, 0)
    running = wide_sum(CPU)
    running.add(values)
    running.add(values)
    assert running.total().dtype == torch.float64
    assert running.total().item() == 2 * values.double().sum().item()
