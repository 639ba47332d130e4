"""`vox mens lm-eval`: tasks of the LM Evaluation Harness. Needs torch and lm_eval."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lm_eval
from datasets.exceptions import DatasetsError
from jinja2 import TemplateError
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from vox_populi.errors import ConfigError, first_line
from vox_populi.hf.inventory import base_digest
from vox_populi.operator_messages import harness as say
from vox_populi.pipeline.answers import answer_threads
from vox_populi.pipeline.engine_setup import on_device
from vox_populi.pipeline.eval_local_run import adapter_digest
from vox_populi.pipeline.harness import (
    HarnessReport,
    HarnessRequest,
    HarnessTask,
    TaskFigures,
    local_document,
)
from vox_populi.pipeline.harness_model import HarnessModel
from vox_populi.pipeline.load_model import find_weights, load_weights

_RESAMPLES = 1000
"""Resamplings for standard errors that have no formula."""
_TASK_ERRORS = (
    *(ValueError, TypeError, LookupError, AttributeError, AssertionError, OSError),
    *(NotImplementedError, RuntimeError, TemplateError, DatasetsError),
)
"""What lm_eval and the libraries below it raise for a task that they cannot use."""


def run_harness(request: HarnessRequest) -> HarnessReport:
    """Measure.

    Raises:
        VoxError: As `pipeline.harness.run_harness` says.
    """
    found = find_weights(request.weights)
    started = time.perf_counter()
    with on_device(found.device.device, answer_threads(found, request.weights.threads)):
        model = HarnessModel(found, load_weights(found).model, request.seed)
        figures = [each for task in request.tasks for each in _measured(task, model, request)]
    adapter = found.adapter
    return HarnessReport(
        model=found.name,
        adapter=None if adapter is None else Path(adapter.where).name,
        base_digest=base_digest(found.inventory),
        adapter_digest=adapter_digest(adapter),
        lm_eval=lm_eval.__version__,
        tasks=tuple(figures),
        seconds=time.perf_counter() - started,
        notes=found.notes,
    )


def _measured(
    task: HarnessTask, model: HarnessModel, request: HarnessRequest
) -> Iterator[TaskFigures]:
    try:
        with _quiet(), tempfile.TemporaryDirectory() as cache:
            found = evaluate(
                lm=model,
                task_dict=_loaded(task, Path(cache), request),
                limit=request.count,
                apply_chat_template=request.as_chat,
                fewshot_as_multiturn=request.as_chat,
                bootstrap_iters=_RESAMPLES,
                log_samples=False,
            )
    except _TASK_ERRORS as error:
        raise ConfigError(say.harness_task_unusable(_reason(error)).at(task.name)) from None
    for name, values in found["results"].items():
        counted = found["n-samples"].get(name, {}).get("effective", 0)
        yield TaskFigures(task=name, examples=counted, metrics=dict(_metrics(values)))


def _loaded(task: HarnessTask, cache: Path, request: HarnessRequest) -> Any:
    """The task with its rows, and as many examples in front of a question as are wanted.

    As `lm_eval.simple_evaluate` does it, which also asks git and the system about themselves.
    """
    loaded = TaskManager(include_defaults=task.document is None).load([_asked(task, cache)])
    for each in loaded["tasks"].values():
        own = each.get_config("num_fewshot")
        # A task that says 0 means it.
        if own is None or (own != 0 and request.num_fewshot is not None):
            each.set_config(key="num_fewshot", value=request.num_fewshot or 0)
        each.set_fewshot_seed(seed=request.seed)
    return loaded


def _reason(error: Exception) -> str:
    """Some errors of these libraries say nothing, or `None`."""
    said = first_line(error)
    return type(error).__name__ if said in ("", "None") else said


def _asked(task: HarnessTask, cache: Path) -> Any:
    """The task as lm_eval takes it; rows of a file are not kept in the user's cache."""
    if task.document is None:
        return task.name
    document = local_document(task.document, Path(task.name).parent.resolve())
    options = document.get("dataset_kwargs")
    if isinstance(options, Mapping):
        document["dataset_kwargs"] = {"cache_dir": str(cache), **options}
    return document


def _metrics(values: Mapping[str, object]) -> Iterator[tuple[str, float]]:
    """Figures by name, without the filter that takes every answer as it is."""
    for name, value in values.items():
        if isinstance(value, int | float) and name != "sample_len":
            yield name.removesuffix(",none"), float(value)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """A block in which the harness shows neither bars nor log lines."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
