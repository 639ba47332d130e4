"""Notes on settings that use the labels of rows: curriculum and trajectory weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.data.trajectory_weights import TrajectoryRules
from vox_populi.operator_messages import plan as say
from vox_populi.plan.execution_planner import DataFacts


def label_notes(contract: FinetuneContract, data: DataFacts) -> Iterator[str]:
    """Notes on settings without effect on these rows."""
    if contract.curriculum:
        rows = data.n_train_rows
        if not data.graded_rows:
            yield say.note_no_effect("--curriculum", "no row has a difficulty")
        elif data.graded_rows < rows:
            yield say.note_rows_not_graded(rows - data.graded_rows, rows)
    yield from _trajectory_notes(contract.trajectory, data)


def _trajectory_notes(rules: TrajectoryRules, data: DataFacts) -> Iterator[str]:
    enabled = "--trajectory-weighting-enabled"
    off = replace(rules, trajectory_weighting_enabled=False)
    if not rules.trajectory_weighting_enabled:
        if off != TrajectoryRules():
            yield say.note_no_effect("--trajectory-...", f"{enabled} is not set")
        return
    is_default = rules.trajectory_quality_boost == TrajectoryRules().trajectory_quality_boost
    if rules.trajectory_quality_floor is None and not is_default:
        reason = "--trajectory-quality-floor is not set"
        yield say.note_no_effect("--trajectory-quality-boost", reason)
    if not data.trajectory_rows:
        yield say.note_no_effect(enabled, "no row has such a category or rating")
    else:
        yield say.note_rows_weighted(data.trajectory_rows)
