"""How long a run will still take, by what its steps, evaluations and saves took."""

from __future__ import annotations

import statistics
from collections import deque

WARM_UP_STEPS = 2
"""Of each session; they also pay for allocation, compilation and cold caches."""
FEWEST_STEPS = 3
"""Measured before anything is said."""
_RECENT_STEPS = 50


class TimeLeft:
    """An estimate from the median of recent steps, which no single slow step can bend."""

    def __init__(self) -> None:
        self._warm_up = WARM_UP_STEPS
        self._steps: deque[float] = deque(maxlen=_RECENT_STEPS)
        self._evaluation, self._save = 0.0, 0.0

    def step_took(self, seconds: float) -> None:
        """Take in a step, without the evaluation and the save behind it."""
        if self._warm_up:
            self._warm_up -= 1
        else:
            self._steps.append(seconds)

    def evaluation_took(self, seconds: float) -> None:
        """Take in an evaluation."""
        self._evaluation = seconds

    def save_took(self, seconds: float) -> None:
        """Take in a checkpoint."""
        self._save = seconds

    def seconds(self, *, steps: int, evaluations: int = 0, saves: int = 0) -> float | None:
        """For what is left; `None` before enough steps were measured."""
        if steps == 0:
            return 0.0
        if len(self._steps) < FEWEST_STEPS:
            return None
        step = statistics.median(self._steps)
        return steps * step + evaluations * self._evaluation + saves * self._save


def due_from(step: int, total: int, every: int | None) -> int:
    """How often something that comes every so many steps is still due, this step included."""
    return 0 if every is None else max(total // every - (step - 1) // every, 0)
