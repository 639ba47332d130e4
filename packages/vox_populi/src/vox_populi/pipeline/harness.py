"""Measuring a model with the LM Evaluation Harness: request, report and function. No torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vox_populi import extras, number_ranges
from vox_populi.contract.setting import require_settings, setting
from vox_populi.errors import ConfigError
from vox_populi.files.json_report import JsonReport, shown
from vox_populi.number_ranges import NumberRange
from vox_populi.operator_messages import harness as say
from vox_populi.pipeline.early_refusals import refuse_all, weights_checks
from vox_populi.pipeline.runners import load_runner
from vox_populi.pipeline.weights_choice import WeightsChoice

_COUNT = NumberRange(lowest=1, highest=10**7)
_FEWSHOT = NumberRange(lowest=0, highest=1000)
_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE")
"""Variables of the libraries below lm_eval, which would look for data on the hub."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessTask:
    """A task of a file, or one that lm_eval has itself."""

    name: str
    """Path of the file, or lm_eval's name."""
    document: Mapping[str, object] | None = None
    """What the file says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessSettings:
    """The weights to measure, and how much of the tasks."""

    weights: WeightsChoice = field(default_factory=WeightsChoice)
    count: int | None = setting(
        None, "First examples of each task to use.", allowed=_COUNT, default_text="all"
    )
    num_fewshot: int | None = setting(
        None, "Examples in front of each question.", allowed=_FEWSHOT, default_text="the task's"
    )
    as_chat: bool = setting(False, "Ask in the chat template of the training.")
    seed: int = setting(0, "Seed of the choice of examples.", allowed=number_ranges.SEED)


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessRequest(HarnessSettings):
    """Tasks to measure a model with."""

    tasks: tuple[HarnessTask, ...]

    def __post_init__(self) -> None:
        require_settings(self)
        if not self.tasks:
            raise ConfigError(say.HARNESS_TASKS_MISSING)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFigures(JsonReport):
    """What a task gave."""

    task: str
    examples: int
    metrics: Mapping[str, float]
    """Values by lm_eval's names: `acc`, `acc_stderr`, `exact_match,strict` for a filter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessReport(JsonReport):
    """Figures of all tasks."""

    model: str
    adapter: str | None
    base_digest: str
    adapter_digest: str | None
    lm_eval: str
    """Version."""
    tasks: tuple[TaskFigures, ...]
    seconds: float = field(metadata=shown(digits=3))
    notes: tuple[str, ...]


def run_harness(request: HarnessRequest) -> HarnessReport:
    """Measure a model with lm_eval's tasks.

    Raises:
        MissingExtraError: Without the extra `lm-eval`.
        ConfigError: For a task that lm_eval cannot use.
        VoxError: For unusable weights.
    """
    extras.require("lm_eval")
    for name in _OFFLINE:
        os.environ.setdefault(name, "1")
    module = load_runner("harness_run", lambda: refuse_all(*weights_checks(request.weights)))
    report: HarnessReport = module.run_harness(request)
    return report


def local_document(document: Mapping[str, object], folder: Path) -> dict[str, object]:
    """A task whose data files are those beside its own file, wherever the command is called."""
    made = dict(document)
    options = made.get("dataset_kwargs")
    files = options.get("data_files") if isinstance(options, Mapping) else None
    if isinstance(options, Mapping) and files is not None:
        made["dataset_kwargs"] = {**options, "data_files": _placed(files, folder)}
    return made


def _placed(files: object, folder: Path) -> object:
    if isinstance(files, str):
        return files if "://" in files else str(folder / files)
    if isinstance(files, list):
        return [_placed(each, folder) for each in files]
    if isinstance(files, Mapping):
        return {name: _placed(each, folder) for name, each in files.items()}
    return files
