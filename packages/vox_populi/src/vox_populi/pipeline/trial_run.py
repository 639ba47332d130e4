"""`--dry-run=step`: one step, one evaluation, one save, measured and undone. Needs torch."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from heapq import nsmallest
from pathlib import Path
from typing import TypeVar

import torch

from vox_populi.adapters.header import AdapterHeader
from vox_populi.events import Event
from vox_populi.pipeline.engine_setup import (
    engine_settings,
    load_objective,
    on_device,
    plan_optimizer,
)
from vox_populi.pipeline.final_adapter import write_final_adapter
from vox_populi.pipeline.run_facts import adapter_header, input_facts
from vox_populi.pipeline.train import PlannedRun
from vox_populi.pipeline.trial import StepTrialReport
from vox_populi.plan.execution_planner import require_memory
from vox_populi.train.engine import Engine, Rows
from vox_populi.train.evaluate import mean_loss
from vox_populi.train.memory_peak import peak_memory_bytes
from vox_populi.train.objective import Objective
from vox_populi.train.outcome import TrainOutcome

_Value = TypeVar("_Value")


def try_one_step(planned: PlannedRun) -> StepTrialReport:
    """Measure the repeated parts of a run.

    The step uses the longest rows, so that no other step needs more memory.

    Raises:
        VoxError: As a run would.
    """
    require_memory(planned.plan)
    plan, valid = planned.plan, planned.preflight.valid
    inputs = input_facts(planned)
    with on_device(plan.device, plan.threads):
        objective = load_objective(_without_cache(planned), inputs.base_digest).objective
        heldout_loss, evaluation_seconds = None, None
        if len(valid):
            heldout_loss, evaluation_seconds = _timed(
                lambda: mean_loss(objective, valid, plan.batching.window_tokens), objective.device
            )
        outcome, step_seconds = _timed(lambda: _one_step(planned, objective), objective.device)
        peak = peak_memory_bytes(objective.device)
    header = adapter_header(planned, inputs, outcome.steps)
    adapter_bytes, save_seconds = _timed(lambda: _save(planned, header, outcome), objective.device)
    return StepTrialReport(
        planned=planned,
        step_seconds=step_seconds,
        evaluation_seconds=evaluation_seconds,
        save_seconds=save_seconds,
        loss=outcome.train_loss,
        heldout_loss=heldout_loss,
        adapter_bytes=adapter_bytes,
        measured_peak_bytes=peak or None,
    )


def _without_cache(planned: PlannedRun) -> PlannedRun:
    """The plan without a folder of quantised bases, since a trial leaves nothing behind."""
    quant = planned.plan.quant
    if quant is None:
        return planned
    plan = replace(planned.plan, quant=replace(quant, cache_dir=None))
    return replace(planned, plan=plan)


class _NoSink:
    """A sink that discards events."""

    def emit(self, event: Event) -> None:
        """Discard an event."""


def _one_step(planned: PlannedRun, objective: Objective) -> TrainOutcome:
    plan, rows = planned.plan, planned.preflight.train
    lengths = rows.lengths
    longest_first = nsmallest(
        plan.batching.rows_per_step, range(len(rows)), key=lambda row: (-lengths[row], row)
    )
    longest = rows.select(sorted(longest_first))
    settings = engine_settings(planned, only_one_step=True)
    only_these = Rows(longest, rows.select([]))
    optimizer = plan_optimizer(plan, objective)
    return Engine(objective, optimizer, only_these, settings, _NoSink()).run()


def _save(planned: PlannedRun, header: AdapterHeader, outcome: TrainOutcome) -> int:
    """Write the adapter into a scratch folder; return the size of its files."""
    with tempfile.TemporaryDirectory(prefix="vox-trial-") as folder:
        written = write_final_adapter(Path(folder), planned, header, outcome.adapter)
        return sum(path.stat().st_size for path in written)


def _timed(action: Callable[[], _Value], device: torch.device) -> tuple[_Value, float]:
    """A result and the seconds until the device was done with it."""
    start = time.perf_counter()
    value = action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return value, time.perf_counter() - start
