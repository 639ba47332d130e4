"""Sums of many float32 values that lose nothing to the order of adding, on every device.

Shape letters: N values.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

_DEVICES_WITH_FLOAT64 = frozenset({"cpu", "cuda"})
"""Others are assumed not to have it: Metal refuses float64 tensors, and so do some Intel GPUs."""


class WideSum(Protocol):
    """A running sum."""

    def add(self, values_N: Tensor) -> None:
        """Add float32 (or float64) values."""

    def total(self) -> Tensor:
        """The sum so far as a scalar, to be rounded once by the caller."""


def has_float64(device: torch.device) -> bool:
    """Whether float64 tensors may be made on a device."""
    return device.type in _DEVICES_WITH_FLOAT64


def wide_sum(device: torch.device) -> WideSum:
    """A new sum at zero, in float64 if the device has it, otherwise in pairs of float32."""
    return Float64Sum(device) if has_float64(device) else TwoFloatSum(device)


class Float64Sum:
    """Adds in float64."""

    def __init__(self, device: torch.device) -> None:
        self._total = torch.zeros((), dtype=torch.float64, device=device)

    def add(self, values_N: Tensor) -> None:
        """See `WideSum`."""
        self._total += values_N.double().sum()

    def total(self) -> Tensor:
        """See `WideSum`."""
        return self._total


class TwoFloatSum:
    """Adds in float32 and keeps what each addition rounds away in a second float32.

    Values are added in a tree, by halves; each addition is Knuth's TwoSum, whose error term is
    exact. The error terms are added in plain float32, so that N values of one sign come out
    within `2^-24 + (log2 N)^2 * 2^-48` of their sum, relatively: one rounding, as of a float64
    sum that is rounded to float32. It needs separate kernels for each operation, as torch's
    eager mode launches them: a compiler that reorders additions would undo it.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._parts: list[Tensor] = []

    def add(self, values_N: Tensor) -> None:
        """See `WideSum`."""
        self._parts.append(values_N)

    def total(self) -> Tensor:
        """See `WideSum`; not finite if a value is not, though infinity may become NaN."""
        if not self._parts:
            return torch.zeros((), device=self._device)
        high_N = torch.cat(self._parts)
        low_N = torch.zeros_like(high_N)
        while high_N.numel() > 1:
            high_N, low_N = _add_halves(high_N, low_N)
        return (high_N + low_N).sum()


def _add_halves(high_N: Tensor, low_N: Tensor) -> tuple[Tensor, Tensor]:
    """Values of half the length with the same sum; a missing last one counts as zero."""
    if high_N.numel() % 2:
        high_N, low_N = (torch.cat((t, t.new_zeros(1))) for t in (high_N, low_N))
    (a, b), (low_a, low_b) = high_N.view(2, -1), low_N.view(2, -1)
    total = a + b
    b_seen = total - a
    a_seen = total - b_seen
    return total, (low_a + low_b) + ((a - a_seen) + (b - b_seen))
