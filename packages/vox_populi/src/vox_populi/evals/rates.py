"""Rates of passed samples with their intervals; pure arithmetic, no randomness but a seeded one."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist, fmean

from vox_populi.files.json_report import JsonReport, shown

CONFIDENCE = 0.95
_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
_RESAMPLES = 2000
_ROUNDED = 6
"""Digits in a report: far more than any interval allows to read."""


@dataclass(frozen=True, slots=True)
class Rate(JsonReport):
    """A mean over tasks with a 95 % interval."""

    value: float = field(metadata=shown(digits=_ROUNDED))
    low: float = field(metadata=shown(digits=_ROUNDED))
    high: float = field(metadata=shown(digits=_ROUNDED))
    tasks: int
    """Number of tasks it is the mean of."""


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """The chance that one of k samples passes, estimated without bias from n of which c passed.

    `1 - C(n - c, k) / C(n, k)` (Chen et al. 2021, arXiv 2107.03374, eq. 1), as a product that
    stays exact for large n.

    Raises:
        ValueError: Unless `0 <= passed <= samples` and `1 <= k <= samples`.
    """
    if not (0 <= passed <= samples and 1 <= k <= samples):
        message = f"no estimate of pass@{k} from {passed} of {samples}"
        raise ValueError(message)
    failed = samples - passed
    if failed < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(failed + 1, samples + 1))


def wilson(passed: int, total: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927); never outside [0, 1], for any count.

    Raises:
        ValueError: For no trials.
    """
    if total < 1:
        message = "an interval needs at least one trial"
        raise ValueError(message)
    share, z2 = passed / total, _Z * _Z
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    spread = share * (1 - share) / total + z2 / (4 * total * total)
    half = _Z * math.sqrt(spread) / (1 + z2 / total)
    low = 0.0 if passed == 0 else max(0.0, centre - half)
    return low, 1.0 if passed == total else min(1.0, centre + half)


def bootstrap(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % percentile interval of a mean, over resampled tasks (Efron 1979).

    The random numbers depend on nothing but the number of values, so the same report has the same
    interval.

    Raises:
        ValueError: For no values.
    """
    if not values:
        message = "an interval needs at least one value"
        raise ValueError(message)
    if min(values) == max(values):  # So is every resample, and its mean.
        return fmean(values), fmean(values)
    draw = random.Random(len(values))
    means = sorted(fmean(draw.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    tail = (1 - CONFIDENCE) / 2
    last = _RESAMPLES - 1
    return means[round(tail * last)], means[round((1 - tail) * last)]


def rate_of(values: Sequence[float]) -> Rate:
    """The mean of values per task: Wilson's interval if each is 0 or 1, else the bootstrap's.

    Raises:
        ValueError: For no values.
    """
    is_share = all(value in (0.0, 1.0) for value in values)
    low, high = wilson(round(sum(values)), len(values)) if is_share else bootstrap(values)
    return Rate(fmean(values), low, high, len(values))


def mean_difference(values: Sequence[float]) -> Rate:
    """The mean of differences per task, with the bootstrap's interval.

    Raises:
        ValueError: For no values.
    """
    low, high = bootstrap(values)
    return Rate(fmean(values), low, high, len(values))
