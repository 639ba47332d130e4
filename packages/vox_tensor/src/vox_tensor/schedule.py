"""Learning-rate schedules as functions of the step; they have no state, so resuming is exact."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class ScheduleKind(StrEnum):
    """What the learning rate does after the warm-up."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"
    """Half a cosine wave (Loshchilov and Hutter 2017, arXiv 1608.03983, without restarts)."""
    INVERSE_SQRT = "inverse_sqrt"
    """Falls as 1 / sqrt(step) (Vaswani et al. 2017, arXiv 1706.03762)."""
    WSD = "wsd"
    """Warm-up, stable, then linear decay at the end (Hu et al. 2024, arXiv 2404.06395)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningRateSchedule:
    """The learning rate of every optimizer step of a run.

    Raises:
        ValueError: For a rate that is not finite and positive, a negative warm-up or one longer
            than the run, zero steps, or a fraction out of range.
    """

    kind: ScheduleKind
    peak: float
    """Rate at the end of the warm-up."""
    warmup_steps: int
    total_steps: int
    """Optimizer steps of the whole run, warm-up included."""
    warmup_start: float = 1e-7
    """Rate of step 0 with a warm-up, never above the peak; the source system's value."""
    final_fraction: float = 0.0
    """Floor of the decay, as a fraction of the peak. `CONSTANT` has no decay."""
    decay_fraction: float = 0.1
    """Fraction of all steps over which WSD decays."""

    def __post_init__(self) -> None:
        _require(math.isfinite(self.peak) and self.peak > 0, "peak must be finite and positive")
        _require(self.total_steps >= 1, "total_steps must be at least 1")
        _require(
            0 <= self.warmup_steps <= self.total_steps,
            "warmup_steps must lie between 0 and total_steps",
        )
        _require(
            math.isfinite(self.warmup_start) and self.warmup_start >= 0,
            "warmup_start must be finite and not negative",
        )
        _require(0 <= self.final_fraction <= 1, "final_fraction must be in [0, 1]")
        _require(0 < self.decay_fraction <= 1, "decay_fraction must be in (0, 1]")

    def at(self, step: int) -> float:
        """Learning rate of a step, counted from 0.

        The first step after the warm-up (`step == warmup_steps`) has the peak. A decay
        reaches its floor at `total_steps`, the first step that no longer runs, as in
        transformers; later steps keep that rate.

        Raises:
            ValueError: For a negative step.
        """
        _require(step >= 0, "step must not be negative")
        if step < self.warmup_steps:
            start = min(self.warmup_start, self.peak)
            return _warmup_rate(start, self.peak, self.warmup_steps, step)
        floor = self.peak * self.final_fraction
        return floor + (self.peak - floor) * self._remaining(min(step, self.total_steps))

    def _remaining(self, step: int) -> float:
        """Fraction of the way from the floor to the peak, for a step after the warm-up."""
        since_peak = step - self.warmup_steps
        decay_steps = self.total_steps - self.warmup_steps
        match self.kind:
            case ScheduleKind.CONSTANT:
                return 1.0
            case ScheduleKind.LINEAR:
                return 1.0 - _ratio(since_peak, decay_steps)
            case ScheduleKind.COSINE:
                return 0.5 * (1.0 + math.cos(math.pi * _ratio(since_peak, decay_steps)))
            case ScheduleKind.INVERSE_SQRT:
                # The warm-up sets the time scale, so that the curve is smooth where it joins.
                scale = max(self.warmup_steps, 1)
                return math.sqrt(scale / (scale + since_peak))
            case ScheduleKind.WSD:
                tail = min(decay_steps, math.ceil(self.decay_fraction * self.total_steps))
                return 1.0 - _ratio(max(0, step - (self.total_steps - tail)), tail)


def linear_warmup_sequence(
    initial: float, final: float, n_steps: int, count: int
) -> tuple[float, ...]:
    """The first `count` rates of the source system's `LinearWarmupScheduler`.

    Args:
        initial: Rate of the first step.
        final: Rate of step `n_steps` and of every later one.
        n_steps: Steps of the warm-up; 0 starts at `final`.
        count: Rates to return.
    """
    return tuple(_warmup_rate(initial, final, n_steps, step) for step in range(count))


def _warmup_rate(initial: float, final: float, n_steps: int, step: int) -> float:
    """`initial + step * (final - initial) / n_steps`, and exactly `final` from `n_steps` on."""
    return final if step >= n_steps else initial + step * (final - initial) / n_steps


def _ratio(part: int, whole: int) -> float:
    """Progress of a decay; a decay without steps has not begun."""
    return part / whole if whole else 0.0


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)
