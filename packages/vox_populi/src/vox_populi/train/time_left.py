"""Remaining time of a run, estimated from its past steps, evaluations and saves."""

from __future__ import annotations

import statistics
from collections import deque

WARM_UP_STEPS = 2
"""Steps ignored in each session; they also pay for allocation, compilation and cold caches."""
FEWEST_STEPS = 3
"""Number of measured steps required before an estimate is given."""
_RECENT_STEPS = 50


class TimeLeft:
    """An estimate from the median of recent steps, which a single slow step cannot distort."""

    def __init__(self) -> None:
        self._warm_up = WARM_UP_STEPS
        self._steps: deque[float] = deque(maxlen=_RECENT_STEPS)
        self._evaluation, self._save = 0.0, 0.0

    def step_took(self, seconds: float) -> None:
        """Record a step, without the evaluation and save after it."""
        if self._warm_up:
            self._warm_up -= 1
        else:
            self._steps.append(seconds)

    def evaluation_took(self, seconds: float) -> None:
        """Record an evaluation."""
        self._evaluation = seconds

    def save_took(self, seconds: float) -> None:
        """Record a checkpoint."""
        self._save = seconds

    def seconds(self, *, steps: int, evaluations: int = 0, saves: int = 0) -> float | None:
        """Seconds for what is left; `None` until enough steps were measured."""
        if steps == 0:
            return 0.0
        if len(self._steps) < FEWEST_STEPS:
            return None
        step = statistics.median(self._steps)
        return steps * step + evaluations * self._evaluation + saves * self._save


def due_from(step: int, total: int, every: int | None) -> int:
    """How often something that happens every N steps is still due, including this step."""
    return 0 if every is None else max(total // every - (step - 1) // every, 0)
