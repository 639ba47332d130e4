"""Weights that follow from labels: which rows have them, how they multiply, where they stop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vox_populi.data.dataset import DatasetOptions, open_dataset
from vox_populi.data.row_files.open_rows import open_rows
from vox_populi.data.training_text import TextPolicy
from vox_populi.data.trajectory_weights import TrajectoryRules
from vox_tensor.records import Message, Role, TrainingRecord
from vox_tensor.tokenizer import VoxTokenizer

ON = TrajectoryRules(trajectory_weighting_enabled=True)
RATED = TrajectoryRules(trajectory_weighting_enabled=True, trajectory_quality_floor=4)
HUGE = TrajectoryRules(
    trajectory_weighting_enabled=True,
    trajectory_tool_trace_boost=5.0,
    trajectory_failure_category_boost=5.0,
)
TINY = TrajectoryRules(trajectory_weighting_enabled=True, trajectory_tool_trace_boost=0.001)


def record(
    category: str | None = None, rating: float | None = None, weight: float = 1.0
) -> TrainingRecord:
    messages = (Message(Role.USER, "p"), Message(Role.ASSISTANT, "r"))
    return TrainingRecord(
        messages=messages, line=1, category=category, rating=rating, weight=weight
    )


@pytest.mark.parametrize(
    ("rules", "category", "rating", "factor"),
    [
        (TrajectoryRules(), "tool_trace failure", 5, 1.0),
        (ON, None, None, 1.0),
        (ON, "code", 5, 1.0),
        (ON, "my_tool_trace", None, 1.1),
        (ON, "Trajectory_repair", None, 1.1),
        (ON, "build_failed", None, 1.15),
        (ON, "compiler_ERROR", None, 1.15),
        (ON, "tool_trace, error", None, 1.1 * 1.15),
        (RATED, "code", 4, 1.05),
        (RATED, None, 4.5, 1.05),
        (RATED, None, 3.5, 1.0),
        (RATED, None, None, 1.0),
        (RATED, "tool_trace", 5, 1.1 * 1.05),
        (HUGE, "tool_trace error", None, 8.0),
    ],
)
def test_the_factors_of_all_rules_that_are_about_a_row_are_multiplied(
    rules: TrajectoryRules, category: str | None, rating: float | None, factor: float
) -> None:
    assert rules.factor(record(category, rating)) == factor
    assert rules.weight(record(category, rating)) == factor


def test_the_weight_of_a_row_is_multiplied_and_stays_in_the_range_of_weights() -> None:
    assert ON.weight(record("tool_trace", weight=2.0)) == 2.2
    assert HUGE.weight(record("tool_trace error", weight=1000.0)) == 1000.0
    assert TINY.weight(record("tool_trace", weight=0.5)) == 0.001


def test_rows_of_a_file_have_these_weights_and_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [
        {"prompt": "p", "response": "r", "category": "tool_trace"},
        {"prompt": "p", "response": "r", "weight": 3, "difficulty": "7"},
        {"prompt": "p", "response": "r", "rating": 5, "weight": 2, "difficulty": 11},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def weights(rules: TrajectoryRules) -> tuple[list[float], int]:
        options = DatasetOptions(trajectory=rules)
        dataset = open_dataset(open_rows(path), VoxTokenizer(), TextPolicy(), options)
        assert list(dataset.difficulties) == [0.0, 7.0, 0.0]
        assert dataset.report.graded == 1
        assert dataset.report.ignored_labels == {"difficulty": 1}
        return [row.weight for row in dataset], dataset.report.trajectories

    assert weights(TrajectoryRules()) == ([1.0, 3.0, 2.0], 0)
    assert weights(RATED) == ([1.1, 3.0, 2.1], 2)
