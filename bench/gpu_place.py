"""Where `gpu_check.py` measures, and its clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from gpu_models import Made

from vox_tensor import fused_kernels


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how much."""

    device: torch.device
    is_tiny: bool

    @property
    def dtype(self) -> torch.dtype:
        """What training computes in on this device."""
        return torch.bfloat16 if self.device.type == "cuda" else torch.float32

    def made(self, copies: str | None = None, dtype: torch.dtype | None = None) -> Made:
        """How to make a model here."""
        return Made(
            device=self.device, dtype=dtype or self.dtype, draw_on=self.device.type, copies=copies
        )


Part = Callable[[Place], dict[str, Any]]


@contextmanager
def without_kernels() -> Iterator[None]:
    """A block in which no part of a model is computed by our pointwise kernels."""
    with mock.patch.object(fused_kernels, "_tried", return_value=(None, "turned off")):
        yield


def seconds_of(call: Callable[[], object], place: Place) -> float:
    """Median time of a call, each measured up to the device's last kernel."""
    n_calls = 12 if place.device.type == "cuda" else 2
    times = []
    for _ in range(n_calls + 1):
        started = now(place)
        call()
        times.append(now(place) - started)
    return statistics.median(times[1:])


def now(place: Place) -> float:
    """A clock that waits for the device."""
    if place.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
