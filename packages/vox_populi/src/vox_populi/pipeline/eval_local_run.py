"""`vox mens eval-local`: a model's answers to tasks, and what they are worth. Needs torch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from vox_populi.adapters.peft.config import PEFT_WEIGHTS_FILE
from vox_populi.errors import ConfigError
from vox_populi.evals.checks import judge, require_checks
from vox_populi.evals.eval_report import (
    REPORT_FILE,
    EvalDigests,
    MeasuredTasks,
    report_document,
    settings_digest,
)
from vox_populi.evals.eval_task import EvalTask, tasks_digest
from vox_populi.evals.task_files import read_tasks
from vox_populi.evals.task_results import SampleResult, TaskResult
from vox_populi.files.file_digest import digest_of_files
from vox_populi.files.known_names import PEFT_CONFIG_FILE
from vox_populi.files.staged_folder import StagedFolder
from vox_populi.files.whole_file import OWN_DIGEST, pretty_json
from vox_populi.hf.inventory import base_digest
from vox_populi.kernel.adapted_objective import AdaptedObjective
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.operator_messages import run as say_run
from vox_populi.pages.eval_page import eval_page
from vox_populi.pipeline.answers import answer_threads
from vox_populi.pipeline.engine_setup import on_device
from vox_populi.pipeline.eval_local import (
    EvalLocalReport,
    EvalLocalRequest,
    require_task_needs,
)
from vox_populi.pipeline.load_model import FoundWeights, find_weights, load_weights
from vox_populi.pipeline.task_answers import TaskAnswer, TaskAnswerer
from vox_populi.runs.find_adapter import FoundAdapter

PAGE_FILE = "eval_report.html"
RECEIPT_FILE = "eval_receipt.json"


def evaluate_tasks(request: EvalLocalRequest) -> EvalLocalReport:
    """Answer and judge tasks.

    Raises:
        VoxError: As `pipeline.eval_local.evaluate_tasks` says.
    """
    tasks = read_tasks(request.tasks, request.overrides)
    require_task_needs(tasks, run_code=request.run_code)
    require_checks(tasks)
    found = find_weights(request.weights)
    if request.compare_base and found.adapter is None:
        raise ConfigError(say_run.NOTHING_TO_COMPARE)
    started = time.perf_counter()
    base = None
    with on_device(found.device.device, answer_threads(found, request.weights.threads)):
        objective = load_weights(found)
        if request.compare_base:
            with objective.adapters_off():
                base = _measure(found, objective, tasks)
        measured = _measure(found, objective, tasks)
    seconds = time.perf_counter() - started
    settings = evaluation_settings(found, run_code=request.run_code)
    document = report_document(
        model=found.name,
        adapter=None if found.adapter is None else Path(found.adapter.where).name,
        digests=EvalDigests(
            tasks=tasks_digest(tasks),
            base=base_digest(found.inventory),
            adapter=adapter_digest(found.adapter),
            settings=settings_digest(settings),
        ),
        settings=settings,
        measured=measured,
        base=base,
    )
    report = EvalLocalReport(
        document=document,
        measured=measured,
        base=base,
        seconds=seconds,
        output=request.output,
        notes=found.notes,
    )
    if request.output is not None:
        _write(request.output, report, force=request.force)
    return report


def _measure(
    found: FoundWeights, objective: AdaptedObjective[CausalGraph], tasks: tuple[EvalTask, ...]
) -> MeasuredTasks:
    # A new one for base and adapter: what one has read is not what the other would have.
    answerer = TaskAnswerer(found, objective.model)
    asked = [(task, task.seed_of(n)) for task in tasks for n in range(task.sampling.samples)]
    answers = zip(asked, answerer.answers(asked), strict=True)
    samples = (_sample(task, seed, made) for (task, seed), made in answers)
    return MeasuredTasks(
        results=tuple(
            TaskResult(task, tuple(islice(samples, task.sampling.samples))) for task in tasks
        )
    )


def _sample(task: EvalTask, seed: int, made: TaskAnswer) -> SampleResult:
    return SampleResult(seed, made.text, made.tokens, made.stop_reason, judge(task, made.text))


def evaluation_settings(found: FoundWeights, *, run_code: bool) -> Mapping[str, object]:
    """What decides answers and judgement besides tasks and weights."""
    return {
        "run_code": run_code,
        "device": found.device.device,
        "compute_dtype": found.device.compute_dtype,
        "template": found.policy.digest,
        "tokenizer": found.tokenizer.digest,
    }


def adapter_digest(adapter: FoundAdapter | None) -> str | None:
    """Digest of an adapter's files; PEFT's config has the numbers that scale its weights."""
    if adapter is None:
        return None
    files = adapter.files
    if adapter.place.file.name == PEFT_WEIGHTS_FILE:
        files = (*files, adapter.place.file.parent / PEFT_CONFIG_FILE)
    return digest_of_files(files)


def _write(output: Path, report: EvalLocalReport, *, force: bool) -> None:
    """The report and the page, and a receipt that ties them to what was measured, with the time."""
    document = report.document
    receipt = {
        "schema": "vox_mens_eval_receipt_v1",
        "report": {"file": REPORT_FILE, "sha256": document[OWN_DIGEST]},
        "digests": document["digests"],
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(report.seconds, 3),
    }
    with StagedFolder.create(output, force=force) as staged:
        staged.write(REPORT_FILE, pretty_json(document))
        staged.write(PAGE_FILE, eval_page(document, report.base, report.measured).encode())
        staged.write(RECEIPT_FILE, pretty_json(receipt))
        staged.publish()
