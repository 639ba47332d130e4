"""Weights that follow from a row's labels: tool traces, failures, well rated rows.

The rule is the source system's: factors are multiplied, and their product is at most 8.
"""

from __future__ import annotations

from dataclasses import dataclass

from vox_tensor.records import TrainingRecord

TOOL_WORDS = ("tool_trace", "trajectory")
FAILURE_WORDS = ("fail", "error")
MOST_FACTOR = 8.0
LEAST_WEIGHT, MOST_WEIGHT = 1e-3, 1e3
"""Bounds of a row's weight, however many factors it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrajectoryRules:
    """Factors for rows whose category or rating says that they are worth more, or less."""

    trajectory_weighting_enabled: bool = False
    trajectory_tool_trace_boost: float = 1.1
    """Applies to a category that contains one of `TOOL_WORDS`."""
    trajectory_failure_category_boost: float = 1.15
    """Applies to a category that contains one of `FAILURE_WORDS`."""
    trajectory_quality_floor: int | None = None
    """Lowest rating for the next factor; `None`: no rating has it."""
    trajectory_quality_boost: float = 1.05

    def factor(self, record: TrainingRecord) -> float:
        """The factor of a row, 1 where no rule is about it."""
        if not self.trajectory_weighting_enabled:
            return 1.0
        category, rating = (record.category or "").casefold(), record.rating
        floor = self.trajectory_quality_floor
        product = 1.0
        if any(word in category for word in TOOL_WORDS):
            product *= self.trajectory_tool_trace_boost
        if any(word in category for word in FAILURE_WORDS):
            product *= self.trajectory_failure_category_boost
        if floor is not None and rating is not None and rating >= floor:
            product *= self.trajectory_quality_boost
        return min(product, MOST_FACTOR)

    def weight(self, record: TrainingRecord) -> float:
        """The weight of a row: its own, times its factor."""
        return min(max(record.weight * self.factor(record), LEAST_WEIGHT), MOST_WEIGHT)


NO_TRAJECTORY_RULES = TrajectoryRules()
