"""Answering and judging tasks: request, report and function. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vox_populi import extras, number_ranges
from vox_populi.errors import ConfigError
from vox_populi.evals.eval_report import MeasuredTasks
from vox_populi.evals.eval_task import EvalTask
from vox_populi.evals.python_jail import require_jail
from vox_populi.evals.task_files import SAMPLES, TaskFile
from vox_populi.files.json_numbers import JsonObject
from vox_populi.files.output_guard import Reads, require_new_folder
from vox_populi.number_ranges import require_ranges
from vox_populi.operator_messages import evals as say
from vox_populi.pipeline.early_refusals import refuse_all, weights_checks
from vox_populi.pipeline.runners import load_runner
from vox_populi.pipeline.weights_choice import WeightsChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalLocalRequest:
    """Tasks to answer and judge."""

    tasks: tuple[TaskFile, ...]
    weights: WeightsChoice = field(default_factory=WeightsChoice)
    samples: int | None = None
    """Overrides the number of the tasks, as the settings below do theirs; `None` keeps it."""
    max_new_tokens: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    compare_base: bool = False
    """Whether to measure the base without its adapter as well."""
    run_code: bool = False
    """Whether code of answers may be run, locked in."""
    output: Path | None = None
    """Folder for report, page and receipt."""
    force: bool = False
    """Rename an existing output folder."""

    def __post_init__(self) -> None:
        require_ranges(
            ("--samples", self.samples, SAMPLES),
            ("--max-new-tokens", self.max_new_tokens, number_ranges.NEW_TOKENS),
            ("--temperature", self.temperature, number_ranges.TEMPERATURE),
            ("--top-k", self.top_k, number_ranges.TOP_K),
            ("--top-p", self.top_p, number_ranges.POSITIVE_SHARE),
            ("--repetition-penalty", self.repetition_penalty, number_ranges.PENALTY),
            ("--seed", self.seed, number_ranges.SEED),
        )

    @property
    def overrides(self) -> Mapping[str, object]:
        """The settings of sampling that were asked for."""
        asked = {
            "samples": self.samples,
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "repetition_penalty": self.repetition_penalty,
            "seed": self.seed,
        }
        return {name: value for name, value in asked.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalLocalReport:
    """How well a model does tasks."""

    document: Mapping[str, object]
    """The report, as it is written."""
    measured: MeasuredTasks
    base: MeasuredTasks | None
    seconds: float
    output: Path | None
    notes: tuple[str, ...] = ()

    def as_json(self) -> JsonObject:
        """The report, with what depends on the clock and the place."""
        return {
            **self.document,
            "seconds": round(self.seconds, 3),
            "output": None if self.output is None else str(self.output),
            "notes": list(self.notes),
        }


def evaluate_tasks(request: EvalLocalRequest) -> EvalLocalReport:
    """Answer every task and check the answers.

    Raises:
        VoxError: For unusable weights, tasks or machine.
    """
    module = load_runner("eval_local_run", lambda: _refuse_early(request))
    report: EvalLocalReport = module.evaluate_tasks(request)
    return report


def _refuse_early(request: EvalLocalRequest) -> None:
    output, reads = request.output, Reads(kept=tuple(file.path for file in request.tasks))
    refuse_all(
        *weights_checks(request.weights),
        lambda: None if output is None else require_new_folder(output, reads, force=request.force),
    )


def require_task_needs(tasks: tuple[EvalTask, ...], *, run_code: bool) -> None:
    """Check that what the tasks' checks need is allowed and there, before weights are loaded.

    Raises:
        ConfigError: For tasks that run code, without permission.
        MissingExtraError: For JSON Schemas, without the extra.
        EnvironmentFailure: Where code cannot be locked in.
    """
    running = [task for task in tasks if task.runs_code]
    if running and not run_code:
        raise ConfigError(say.code_not_allowed(len(running), running[0].where))
    if any(task.needs_schema for task in tasks):
        extras.require("jsonschema", "referencing")
    if running:
        require_jail()
