"""Listing the runs of a folder: `vox mens runs`. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from vox_populi.errors import ArtifactError
from vox_populi.files.json_numbers import JsonObject
from vox_populi.files.json_report import JsonReport, shown
from vox_populi.operator_messages import run_reports as say
from vox_populi.runs.run_comparison import heldout_group
from vox_populi.runs.run_record import RunRecord, is_run_folder, read_run_record
from vox_tensor.errors import Problem, VoxError

_DEEPEST = 4
"""How many folders below the one that was passed are searched."""


class RunOrder(StrEnum):
    """What runs are sorted by."""

    HELDOUT = "heldout"
    """Lowest held-out loss first."""
    DATE = "date"
    """Newest first."""
    LOSS = "loss"
    TOKENS = "tokens"
    """Most tokens first."""
    STEPS = "steps"
    NAME = "name"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRun:
    """A run, or what is wrong with its folder."""

    path: Path
    record: RunRecord | None = None
    problem: Problem | None = None
    heldout_group: int | None = None
    """Runs of the same group have comparable held-out losses."""

    def as_json(self) -> JsonObject:
        """One run in `vox mens runs --json`."""
        if self.record is None:
            problem = None if self.problem is None else self.problem.as_json()
            return {"run": str(self.path), "problem": problem}
        return {**record_as_json(self.record), "heldout_group": self.heldout_group, "problem": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunList(JsonReport):
    """The runs of a folder, sorted; damaged ones last."""

    folder: Path
    order: RunOrder = field(metadata=shown("sort"))
    runs: tuple[ListedRun, ...]

    @property
    def n_heldout_groups(self) -> int:
        """How many kinds of held-out rows there are."""
        return len({each.heldout_group for each in self.runs if each.heldout_group is not None})


def list_runs(folder: Path, order: RunOrder) -> RunList:
    """Find the runs in a folder and in the folders below it; a damaged one is part of the list.

    Raises:
        ArtifactError: When there is none.
    """
    listed = [_listed(path) for path in _run_folders(folder, _DEEPEST)]
    if not listed:
        raise ArtifactError(say.NO_RUNS_FOUND.at(str(folder)))
    key = _KEYS[order]
    sound = [each.record for each in listed if each.record is not None]
    sound.sort(key=lambda record: (key(record), record.name))
    with_loss = [record for record in sound if record.heldout_loss is not None]
    groups = dict(zip(map(id, with_loss), heldout_group(with_loss), strict=True))
    good = [
        ListedRun(path=record.path, record=record, heldout_group=groups.get(id(record)))
        for record in sound
    ]
    bad = [each for each in listed if each.record is None]
    return RunList(folder=folder, order=order, runs=(*good, *bad))


def record_as_json(record: RunRecord) -> JsonObject:
    """A run's results, settings and digests as JSON values."""
    return {
        "run": str(record.path),
        "name": record.name,
        "state": record.state.value,
        "started_at": record.started_at,
        "seconds": record.seconds,
        "step": record.step,
        "planned_steps": record.planned_steps,
        "tokens": record.tokens,
        "supervised_tokens": record.supervised_tokens,
        "train_loss": record.train_loss,
        "heldout_loss_before": record.heldout_loss_before,
        "heldout_loss": record.heldout_loss,
        "best_step": record.best_step,
        "best_heldout_loss": record.best_heldout_loss,
        "evaluations": [{"step": s, "loss": loss} for s, loss in record.evaluations.items()],
        "checkpoints": list(record.checkpoints),
        "tokens_per_second": record.tokens_per_second,
        "peak_memory_bytes": record.peak_memory_bytes,
        "base": record.base,
        "graph_id": record.graph_id,
        "settings": dict(record.settings),
        "program": dict(record.program),
        "digests": dict(record.digests),
        "failure": record.failure,
    }


def _run_folders(folder: Path, depth: int) -> Iterator[Path]:
    """Find run folders; a folder that cannot be read is skipped."""
    if is_run_folder(folder):
        yield folder
        return
    if depth == 0:
        return
    try:
        inside = sorted(folder.iterdir())
    except OSError:
        return
    for path in inside:
        if not path.name.startswith(".") and path.is_dir() and not path.is_symlink():
            yield from _run_folders(path, depth - 1)


def _listed(path: Path) -> ListedRun:
    try:
        return ListedRun(path=path, record=read_run_record(path))
    except VoxError as error:
        return ListedRun(path=path, problem=error.problems[0])


def _least(value: float | None) -> float:
    return math.inf if value is None else value


def _most(value: float | None) -> float:
    return math.inf if value is None else -value


def _date(record: RunRecord) -> tuple[int, ...]:
    """Newest first, and runs without a date last."""
    return tuple(-ord(character) for character in record.started_at or "") or (1,)


_KEYS: Mapping[RunOrder, Callable[[RunRecord], float | tuple[int, ...]]] = {
    RunOrder.HELDOUT: lambda record: _least(record.heldout_loss),
    RunOrder.DATE: _date,
    RunOrder.LOSS: lambda record: _least(record.train_loss),
    RunOrder.TOKENS: lambda record: _most(record.tokens),
    RunOrder.STEPS: lambda record: _most(record.step),
    RunOrder.NAME: lambda record: 0.0,
}
