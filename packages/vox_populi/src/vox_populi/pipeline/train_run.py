"""A whole training run: the stages in order, and a file as each stage ends. Needs torch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vox_populi.artifacts.base_location import base_location
from vox_populi.artifacts.checkpoint_file import write_adapter_bin
from vox_populi.artifacts.model_card import model_card
from vox_populi.artifacts.run_dir import (
    ADAPTER_FILE,
    BASE_LOCATION_FILE,
    KNOWN_FILES,
    MANIFEST_FILE,
    MODEL_CARD_FILE,
    PREFLIGHT_FILE,
    TELEMETRY_FILE,
    TIMES_FILE,
    RunDir,
)
from vox_populi.artifacts.run_times import RunTimes
from vox_populi.artifacts.telemetry_file import TelemetryFile
from vox_populi.artifacts.training_manifest import InputFacts, ResultFacts, manifest_values
from vox_populi.errors import RunFailedError
from vox_populi.events import Event, EventName, Sink
from vox_populi.pipeline.engine_setup import engine_settings, load_objective, on_device
from vox_populi.pipeline.interruption import RunInterruptedError, StopRequest, stop_on_signals
from vox_populi.pipeline.reports import HeldoutPoint, JsonObject, PlannedRun, TrainReport
from vox_populi.pipeline.requests import RunOptions
from vox_populi.pipeline.run_facts import (
    adapter_header,
    input_facts,
    preflight_record,
    train_start_payload,
)
from vox_populi.pipeline.run_sinks import EveryNthStep, SinkGroup
from vox_populi.plan.execution_planner import require_memory
from vox_populi.train.engine import Engine
from vox_populi.train.outcome import TrainOutcome
from vox_tensor.errors import Problem, VoxError


def train(planned: PlannedRun, options: RunOptions, sinks: Sequence[Sink]) -> TrainReport:
    """Do what a plan says and leave a run folder.

    Raises:
        VoxError: As `pipeline.dispatch.run_training` says.
    """
    require_memory(planned.plan)
    output_dir = planned.contract.output_dir
    with stop_on_signals() as stop:
        inputs = input_facts(planned)
        with RunDir.create(output_dir, force=options.force) as run_dir:
            run_dir.write_json(PREFLIGHT_FILE, preflight_record(planned, inputs))
            telemetry = TelemetryFile(run_dir.file(TELEMETRY_FILE))
            sink = SinkGroup((EveryNthStep(telemetry, options.log_every), *sinks))
            try:
                return _Run(planned, inputs, run_dir, sink, stop).train()
            finally:
                telemetry.close()


@dataclass(frozen=True, slots=True)
class _Run:
    """One run that holds its folder."""

    planned: PlannedRun
    inputs: InputFacts
    run_dir: RunDir
    sink: Sink
    stop: StopRequest

    def train(self) -> TrainReport:
        """Train, write, report; whatever goes wrong is an event before it is an error."""
        times = RunTimes()
        self._emit(EventName.TRAIN_START, train_start_payload(self.planned, self.inputs))
        try:
            outcome = self._train(times)
            report = self._write(outcome, times)
        except BaseException as error:
            self._emit(EventName.TRAIN_FAILED, _failure_payload(error))
            located = _with_file(error, self.planned.preflight.train.path)
            if located is error:
                raise
            raise located from error
        self._emit(EventName.TRAIN_COMPLETE, _complete_payload(self.planned, outcome))
        return report

    def _train(self, times: RunTimes) -> TrainOutcome:
        plan, found = self.planned.plan, self.planned.preflight
        with on_device(plan.device, plan.threads):
            with times.measure("load"):
                objective = load_objective(self.planned)
            self._leave_if_asked(step=0)
            settings = engine_settings(plan)
            engine = Engine(objective, found.train, found.valid, settings, self.sink, self.stop)
            with times.measure("train"):
                outcome = engine.run()
        if outcome.interrupted:
            self._leave_if_asked(outcome.steps)
        return outcome

    def _leave_if_asked(self, step: int) -> None:
        if self.stop.signal_number is not None:
            raise RunInterruptedError(self.stop.signal_number, step)

    def _write(self, outcome: TrainOutcome, times: RunTimes) -> TrainReport:
        """The manifest comes last: with it the run is complete."""
        planned, run_dir = self.planned, self.run_dir
        with times.measure("save"):
            adapter = run_dir.file(ADAPTER_FILE)
            step = outcome.steps if outcome.best_step is None else outcome.best_step
            header = adapter_header(planned, self.inputs, step)
            write_adapter_bin(adapter, header, outcome.adapter)
        results = _result_facts(planned, outcome, adapter)
        manifest = manifest_values(planned.contract, planned.plan, self.inputs, results)
        run_dir.write_atomic(MODEL_CARD_FILE, model_card(manifest).encode())
        run_dir.write_json(TIMES_FILE, times.as_json(outcome.tokens, outcome.peak_memory_bytes))
        location = base_location(run_dir.path, planned.plan.model_dir)
        if location is not None and planned.contract.model_dir is not None:
            run_dir.write_json(BASE_LOCATION_FILE, location)
        run_dir.write_json(MANIFEST_FILE, manifest)
        return _report(planned, outcome, run_dir)

    def _emit(self, name: EventName, payload: JsonObject) -> None:
        self.sink.emit(Event(name, payload))


def _with_file(error: BaseException, path: Path) -> BaseException:
    """Give the engine's problems, which name lines, the file these are lines of."""
    if type(error) is not RunFailedError:
        return error
    return RunFailedError(*(_in_file(problem, path) for problem in error.problems))


def _in_file(problem: Problem, path: Path) -> Problem:
    if problem.where is None:
        return problem
    return replace(problem, where=f"{path}:{problem.where.removeprefix('line ')}")


def _failure_payload(error: BaseException) -> JsonObject:
    """Codes and sentences; of places only the engine's, which are lines. Others may be paths."""
    problems = error.problems if isinstance(error, VoxError) else ()
    places = [problem.where for problem in problems] if type(error) is RunFailedError else []
    return {
        "ok": False,
        "interrupted": isinstance(error, RunInterruptedError | KeyboardInterrupt),
        "codes": [problem.code for problem in problems],
        "places": places,
        "message": " ".join(problem.what for problem in problems) or type(error).__name__,
    }


def _complete_payload(planned: PlannedRun, outcome: TrainOutcome) -> JsonObject:
    return {
        "ok": True,
        "execution_kernel": planned.plan.kernel.value,
        "training_steps_executed": outcome.steps,
        "pairs_loaded": planned.plan.n_train_rows,
        "seed": planned.plan.seed,
        "supervised_tokens": outcome.supervised_tokens,
        "loss": outcome.train_loss,
        "val_loss_before": outcome.valid_loss_before,
        "val_loss": outcome.valid_loss_after,
        "final_adapter": ADAPTER_FILE,
        "wall_seconds": outcome.seconds,
        "mean_steps_per_sec": outcome.steps / outcome.seconds if outcome.seconds else None,
    }


def _result_facts(planned: PlannedRun, outcome: TrainOutcome, adapter: Path) -> ResultFacts:
    with adapter.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ResultFacts(
        steps=outcome.steps,
        epochs_completed=outcome.epochs_completed,
        tokens=outcome.tokens,
        supervised_tokens=outcome.supervised_tokens,
        train_loss=outcome.train_loss,
        evaluations=tuple((each.step, each.loss) for each in outcome.evaluations),
        heldout_loss_after=outcome.valid_loss_after,
        best_step=outcome.best_step,
        stopped_early=outcome.stopped_early,
        adapter_file=adapter.name,
        adapter_sha256=digest,
        adapter_bytes=adapter.stat().st_size,
        deterministic=planned.plan.device == "cpu",
    )


def _report(planned: PlannedRun, outcome: TrainOutcome, run_dir: RunDir) -> TrainReport:
    files = {kind: run_dir.file(name) for kind, name in KNOWN_FILES.items()}
    return TrainReport(
        run=run_dir.path,
        steps=outcome.steps,
        planned_steps=planned.plan.total_steps,
        tokens=outcome.tokens,
        supervised_tokens=outcome.supervised_tokens,
        train_loss=outcome.train_loss,
        heldout_loss_before=outcome.valid_loss_before,
        heldout_loss_after=outcome.valid_loss_after,
        evaluations=tuple(HeldoutPoint(step=e.step, loss=e.loss) for e in outcome.evaluations),
        stopped_early=outcome.stopped_early,
        seconds=outcome.seconds,
        peak_memory_bytes=outcome.peak_memory_bytes or None,
        device=planned.plan.device,
        compute_dtype=planned.plan.compute_dtype,
        artifacts={kind: path for kind, path in files.items() if path.is_file()},
        notes=planned.notes,
    )
