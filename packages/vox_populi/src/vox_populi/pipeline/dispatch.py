"""The way in: one function per command, each the stages in order. No torch in here.

Whatever needs torch lives in a `*_run` module that is loaded when it is called, so that
commands which need no torch start without it, and the others refuse in one line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import ModuleType

from vox_populi import extras
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.events import Sink
from vox_populi.pipeline.interruption import RunInterruptedError
from vox_populi.pipeline.machine_probe import probe_machine
from vox_populi.pipeline.preview_run import preview_rows
from vox_populi.pipeline.reports import (
    EvalReport,
    GenerateResult,
    PlannedRun,
    PreviewRow,
    RunState,
    SourceLoss,
    StatusReport,
    StepTrialReport,
    TrainReport,
)
from vox_populi.pipeline.requests import (
    EvalRequest,
    GenerateRequest,
    PreviewRequest,
    RunOptions,
    WeightsChoice,
)
from vox_populi.pipeline.status_run import run_status
from vox_populi.plan.execution_planner import plan_execution
from vox_populi.plan.preflight import preflight

__all__ = [
    "EvalReport",
    "EvalRequest",
    "GenerateRequest",
    "GenerateResult",
    "PlannedRun",
    "PreviewRequest",
    "PreviewRow",
    "RunInterruptedError",
    "RunOptions",
    "RunState",
    "SourceLoss",
    "StatusReport",
    "StepTrialReport",
    "TrainReport",
    "WeightsChoice",
    "evaluate",
    "generate",
    "plan_training",
    "preview_rows",
    "run_status",
    "run_training",
    "try_one_step",
]

NEEDED_TO_RUN = ("torch", "safetensors", "tokenizers")
"""What the extra `mens-gpu` brings; asked for before anything is read."""


def plan_training(contract: FinetuneContract, *, allow_occupied: bool = False) -> PlannedRun:
    """Check all inputs and decide what would run; write nothing, load no weights.

    Args:
        contract: The request.
        allow_occupied: What is in the output folder will be moved aside (`--force`).

    Raises:
        PreflightError: With every finding about the inputs.
        PlanError: When the base model cannot meet the request.
        EnvironmentFailure: When only disk, permissions, a lock or a device is in the way.
    """
    found = preflight(contract, allow_occupied=allow_occupied)
    plan = plan_execution(contract, found.inventory, found.facts, probe_machine())
    return PlannedRun(contract=contract, preflight=found, plan=plan)


def run_training(
    contract: FinetuneContract, options: RunOptions, sinks: Sequence[Sink] = ()
) -> TrainReport:
    """Check, plan and train; write the run folder.

    Args:
        contract: The request.
        options: What does not change the result.
        sinks: Receive every event beside `telemetry.jsonl`; one that fails is left out.

    Raises:
        MissingExtraError: Without the extra `mens-gpu`.
        PreflightError: With every finding about the inputs; nothing was written.
        PlanError: When the base model cannot meet the request; nothing was written.
        RunFailedError: On a loss that is not finite, with the rows that caused it.
        EnvironmentFailure: For an occupied or locked folder, a full disk or device.
        RunInterruptedError: After SIGINT or SIGTERM, at a step border; its `exit_code` is
            130 or 143.
    """
    module = _load_runner("train_run")
    planned = plan_training(contract, allow_occupied=options.force)
    report: TrainReport = module.train(planned, options, sinks)
    return report


def try_one_step(contract: FinetuneContract, *, allow_occupied: bool = False) -> StepTrialReport:
    """Run one step, one evaluation and one save in a scratch folder, and measure them.

    Args:
        contract: The request.
        allow_occupied: As for `plan_training`.

    Raises:
        VoxError: As `run_training` does.
    """
    module = _load_runner("trial_run")
    report: StepTrialReport = module.try_one_step(
        plan_training(contract, allow_occupied=allow_occupied)
    )
    return report


def evaluate(request: EvalRequest) -> EvalReport:
    """Mean loss over the supervised tokens of a file.

    Raises:
        VoxError: For unusable weights, rows or machine.
    """
    report: EvalReport = _load_runner("eval_run").evaluate(request)
    return report


def generate(request: GenerateRequest) -> Iterator[GenerateResult]:
    """Continue each prompt, in order; the weights are loaded when the first is asked for.

    Raises:
        VoxError: For unusable weights, or a prompt that leaves no room for an answer.
    """
    results: Iterator[GenerateResult] = _load_runner("generate_run").generate(request)
    return results


def _load_runner(name: str) -> ModuleType:
    extras.require(*NEEDED_TO_RUN)
    return extras.load(f"vox_populi.pipeline.{name}")
