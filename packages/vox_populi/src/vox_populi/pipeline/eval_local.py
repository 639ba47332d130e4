"""Answering and judging tasks: request, report and function. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from vox_populi import extras, number_ranges
from vox_populi.contract.setting import require_settings, setting
from vox_populi.errors import ConfigError
from vox_populi.evals.eval_report import MeasuredTasks
from vox_populi.evals.eval_task import EvalTask, Sampling
from vox_populi.evals.python_jail import require_jail
from vox_populi.evals.task_files import SAMPLES, TaskFile
from vox_populi.files.json_report import HIDDEN, JsonReport, shown
from vox_populi.files.output_guard import Reads, require_new_folder
from vox_populi.operator_messages import evals as say
from vox_populi.pipeline.early_refusals import refuse_all, weights_checks
from vox_populi.pipeline.runners import load_runner
from vox_populi.pipeline.weights_choice import WeightsChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalLocalSettings:
    """The weights, how they are sampled, and what is written."""

    weights: WeightsChoice = field(default_factory=WeightsChoice)
    samples: int | None = setting(
        None, "Answers per task.", allowed=SAMPLES, default_text="the task's, else 1"
    )
    """Overrides the number of the tasks, as the settings below do theirs; `None` keeps it."""
    max_new_tokens: int | None = setting(
        None,
        "Largest number of tokens per answer.",
        allowed=number_ranges.NEW_TOKENS,
        default_text="the task's, else 256",
    )
    temperature: float | None = setting(
        None,
        "Randomness; 0 is greedy.",
        allowed=number_ranges.TEMPERATURE,
        default_text="the task's, else 0",
    )
    top_k: int | None = setting(
        None, "Sample from the K most likely tokens only.", allowed=number_ranges.TOP_K
    )
    top_p: float | None = setting(
        None,
        "Sample from tokens up to this total probability only.",
        allowed=number_ranges.POSITIVE_SHARE,
    )
    repetition_penalty: float | None = setting(
        None, "Above 1 makes repetition less likely.", allowed=number_ranges.PENALTY
    )
    seed: int | None = setting(
        None, "Seed of sampling.", allowed=number_ranges.SEED, default_text="the task's, else 0"
    )
    compare_base: bool = setting(False, "Also measure the base without its adapter.")
    run_code: bool = setting(False, "Run the code of answers, locked in, where tasks have tests.")
    output: Path | None = setting(
        None, "New folder for report, page and receipt.", name="output_dir"
    )
    force: bool = setting(False, "Rename an existing --output-dir out of the way.")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalLocalRequest(EvalLocalSettings):
    """Tasks to answer and judge."""

    tasks: tuple[TaskFile, ...]

    def __post_init__(self) -> None:
        require_settings(self)

    @property
    def overrides(self) -> Mapping[str, object]:
        """The settings of sampling that were asked for."""
        asked = {each.name: getattr(self, each.name) for each in fields(Sampling)}
        return {name: value for name, value in asked.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalLocalReport(JsonReport):
    """How well a model does tasks."""

    document: Mapping[str, object] = field(metadata=shown(inline=True))
    """The report, as it is written."""
    measured: MeasuredTasks = field(metadata=HIDDEN)
    base: MeasuredTasks | None = field(metadata=HIDDEN)
    seconds: float = field(metadata=shown(digits=3))
    output: Path | None
    notes: tuple[str, ...] = ()


def evaluate_tasks(request: EvalLocalRequest) -> EvalLocalReport:
    """Answer every task and check the answers.

    Raises:
        VoxError: For unusable weights, tasks or machine.
    """
    output, reads = request.output, Reads(kept=tuple(file.path for file in request.tasks))
    module = load_runner(
        "eval_local_run",
        lambda: refuse_all(
            *weights_checks(request.weights),
            lambda: require_new_folder(output, reads, force=request.force) if output else None,
        ),
    )
    report: EvalLocalReport = module.evaluate_tasks(request)
    return report


def require_task_needs(tasks: tuple[EvalTask, ...], *, run_code: bool) -> None:
    """Check that what the tasks' checks need is allowed and there, before weights are loaded.

    Raises:
        ConfigError: For tasks that run code, without permission.
        MissingExtraError: For JSON Schemas, without the extra.
        EnvironmentFailure: Where code cannot be locked in.
    """
    running = [task for task in tasks if task.runs_code]
    if running and not run_code:
        raise ConfigError(say.code_not_allowed(len(running)).at(running[0].where))
    if any(task.needs_schema for task in tasks):
        extras.require("jsonschema", "referencing")
    if running:
        require_jail()
