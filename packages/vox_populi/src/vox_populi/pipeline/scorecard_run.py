"""`vox mens scorecard run`: one cycle of both backends on a suite. Needs torch."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from vox_populi.contract.choices import Backend, Kernel
from vox_populi.errors import ArtifactError
from vox_populi.evals.checks import require_checks
from vox_populi.evals.eval_task import EvalTask, tasks_digest
from vox_populi.evals.repair import repaired
from vox_populi.evals.scorecard_cycle import CYCLE_FILE, Condition, Cycle, RunFacts
from vox_populi.evals.scorecard_kpis import ScorecardEvent
from vox_populi.files.file_digest import content_digest
from vox_populi.files.json_numbers import JsonObject
from vox_populi.files.known_names import MANIFEST_FILE
from vox_populi.files.staged_folder import StagedFolder
from vox_populi.files.whole_file import OWN_DIGEST, pretty_json
from vox_populi.hf.inventory import base_digest
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.operator_messages import evals as say
from vox_populi.pages.scorecard_page import cycle_page
from vox_populi.pipeline.answers import answer_threads
from vox_populi.pipeline.engine_setup import on_device
from vox_populi.pipeline.eval_local import require_task_needs
from vox_populi.pipeline.eval_local_run import evaluation_settings
from vox_populi.pipeline.load_model import FoundWeights, find_weights, load_weights
from vox_populi.pipeline.scorecard import CycleReport, CycleRequest
from vox_populi.pipeline.task_answers import TaskAnswerer
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_populi.runs.lane import lane_of
from vox_populi.runs.manifest import read_manifest
from vox_tensor.records import Message

CYCLE_PAGE, TIMES_FILE = "cycle.html", "cycle_times.json"


def run_cycle(request: CycleRequest) -> CycleReport:
    """Measure both runs, one after the other, and write the cycle.

    Raises:
        VoxError: As `pipeline.scorecard.run_cycle` says.
    """
    tasks = request.suite.tasks()
    require_task_needs(tasks, run_code=request.run_code)
    require_checks(tasks)
    runs = {Backend.LORA: request.lora, Backend.QLORA: request.qlora}
    found = {backend: find_weights(_weights(request, run)) for backend, run in runs.items()}
    facts = {backend: _facts(backend, run, found[backend]) for backend, run in runs.items()}
    settings = {
        backend: evaluation_settings(each, run_code=request.run_code)
        for backend, each in found.items()
    }
    _require_comparable(facts, settings)
    started = time.perf_counter()
    timed = {
        backend: _measure(found[backend], tasks, request.suite.suite.max_attempts, request)
        for backend in runs
    }
    cycle = Cycle(
        suite=request.suite.suite,
        tasks=tasks_digest(tasks),
        settings=settings[Backend.LORA],
        conditions={
            backend: Condition(facts=facts[backend], events=tuple(event for event, _ in events))
            for backend, events in timed.items()
        },
        path=request.output / CYCLE_FILE,
    )
    seconds = time.perf_counter() - started
    document = cycle.document()
    with StagedFolder.create(request.output) as staged:
        staged.write(CYCLE_FILE, pretty_json(document))
        staged.write(CYCLE_PAGE, cycle_page(cycle).encode())
        staged.write(TIMES_FILE, pretty_json(_times(document, timed, seconds)))
        staged.publish()
    notes = tuple(dict.fromkeys(note for each in found.values() for note in each.notes))
    return CycleReport(cycle=cycle, output=request.output, seconds=seconds, notes=notes)


def _weights(request: CycleRequest, run: Path) -> WeightsChoice:
    compute = request.compute
    return WeightsChoice(
        run=run,
        model_dir=request.model_dir,
        device=compute.device,
        dtype=compute.dtype,
        threads=compute.threads,
    )


def _facts(backend: Backend, run: Path, found: FoundWeights) -> RunFacts:
    """What a run's manifest says it is, if it is true.

    Raises:
        ArtifactError: For a run of another backend, or with an adapter that is not the manifest's.
    """
    manifest = read_manifest(run / MANIFEST_FILE)
    kernel = (Kernel.BURN_LORA if backend is Backend.LORA else Kernel.CANDLE_QLORA).value
    if manifest.get("execution_kernel") != kernel:
        told = str(manifest.get("execution_kernel"))
        raise ArtifactError(say.run_of_other_backend(backend.value, told).at(str(run)))
    assert found.adapter is not None, "a run has one"
    file = found.adapter.place.file
    adapter = content_digest(file)
    artifacts = manifest.get("artifacts")
    entry = artifacts.get(file.name) if isinstance(artifacts, Mapping) else None
    if not isinstance(entry, Mapping) or entry.get("sha256") != adapter:
        raise ArtifactError(say.ADAPTER_NOT_OF_RUN.at(str(file)))
    seed = manifest.get("seed")
    return RunFacts(
        run=run.resolve().name,
        backend=backend,
        lane=lane_of(manifest),
        adapter=f"sha256:{adapter}",
        base=base_digest(found.inventory),
        train=str(manifest.get("train_digest")),
        seed=seed if isinstance(seed, int) else 0,
    )


def _require_comparable(
    facts: Mapping[Backend, RunFacts], settings: Mapping[Backend, Mapping[str, object]]
) -> None:
    """Refuse two runs whose difference would not be that of their backends.

    Raises:
        ArtifactError: With each thing that differs.
    """
    one, other = facts[Backend.LORA], facts[Backend.QLORA]
    differs = [name for name in ("base", "train") if getattr(one, name) != getattr(other, name)]
    theirs = settings[Backend.QLORA]
    differs += [name for name, value in settings[Backend.LORA].items() if theirs[name] != value]
    if differs:
        raise ArtifactError(say.runs_do_not_compare(one.run, other.run, differs))


Timed = tuple[ScorecardEvent, float]


def _measure(
    found: FoundWeights, tasks: Sequence[EvalTask], max_attempts: int, request: CycleRequest
) -> list[Timed]:
    with on_device(found.device.device, answer_threads(found, request.compute.threads)):
        answers = _Answers(found, load_weights(found).model)
        timed = []
        for task in tasks:
            started = time.perf_counter()
            event = repaired(task, answers, max_attempts)
            timed.append((event, time.perf_counter() - started))
    return timed


class _Answers:
    """See `evals.repair.Answers`."""

    def __init__(self, found: FoundWeights, model: CausalGraph) -> None:
        self._answerer = TaskAnswerer(found, model)

    def attempt(
        self, task: EvalTask, seed: int, further: Sequence[Message], remark: str
    ) -> tuple[str, int]:
        """See `evals.repair.Answers.attempt`."""
        made = self._answerer.answer(task, seed, further, remark)
        return made.text, made.tokens


def _times(
    document: Mapping[str, object], timed: Mapping[Backend, Sequence[Timed]], seconds: float
) -> JsonObject:
    """What depends on the clock: how long tasks took until they were valid."""
    until = {
        backend.value: [each for event, each in events if event.valid_at is not None]
        for backend, events in timed.items()
    }
    return {
        "schema": "vox_mens_scorecard_times_v1",
        "cycle": document[OWN_DIGEST],
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "time_to_valid_p50_ms": {
            name: round(1000 * median(each), 1) if each else None for name, each in until.items()
        },
    }
