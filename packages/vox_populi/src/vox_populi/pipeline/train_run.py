"""A whole training run: the stages in order, and a file as each stage ends. Needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vox_populi.adapters.header import AdapterHeader
from vox_populi.data.row_files.row_file import RowFile, row_places
from vox_populi.errors import RunFailedError
from vox_populi.events import Event, EventName, Sink, SinkGroup
from vox_populi.files.json_numbers import JsonObject
from vox_populi.files.known_names import MANIFEST_FILE, REQUEST_FILE
from vox_populi.files.output_guard import IfOccupied
from vox_populi.loggers.logged_values import settings_to_log
from vox_populi.loggers.run_loggers import RunLoggers
from vox_populi.pipeline.checkpoint_saver import CheckpointSaver
from vox_populi.pipeline.crew import Crew, CrewStop
from vox_populi.pipeline.engine_setup import (
    engine_settings,
    load_objective,
    on_device,
    plan_optimizer,
)
from vox_populi.pipeline.final_adapter import write_final_adapter
from vox_populi.pipeline.initial_adapter import read_initial_adapter
from vox_populi.pipeline.interruption import TimeLimit, stop_on_signals
from vox_populi.pipeline.resume import (
    StartingPoint,
    check_finished_adapter,
    check_source,
    find_start,
    is_complete,
    refuse_another_request,
)
from vox_populi.pipeline.run_facts import (
    adapter_header,
    check_rows,
    input_facts,
    preflight_record,
    run_request,
    train_start_payload,
)
from vox_populi.pipeline.sample_answers import SampleAnswers
from vox_populi.pipeline.stopped_run import RunInterruptedError
from vox_populi.pipeline.train import PlannedRun, RunOptions, TrainReport
from vox_populi.pipeline.train_results import (
    complete_payload,
    finished_report,
    result_facts,
    train_report,
)
from vox_populi.plan.execution_planner import require_memory
from vox_populi.runs.base_location import base_location
from vox_populi.runs.check_rows import CHECK_ROWS_FILE
from vox_populi.runs.checkpoint_bounds import RunExtent
from vox_populi.runs.checkpoint_dir import damaged, list_checkpoints
from vox_populi.runs.checkpoint_state import read_state
from vox_populi.runs.find_adapter import FoundAdapter
from vox_populi.runs.manifest import InputFacts, manifest_values
from vox_populi.runs.model_card import model_card
from vox_populi.runs.request import RunRequest
from vox_populi.runs.run_dir import (
    BASE_LOCATION_FILE,
    MODEL_CARD_FILE,
    PREFLIGHT_FILE,
    TELEMETRY_FILE,
    TIMES_FILE,
    RunDir,
)
from vox_populi.runs.telemetry import TelemetryFile, cut_telemetry
from vox_populi.runs.times import RunTimes
from vox_populi.train.engine import Engine, Rows
from vox_populi.train.engine_state import CheckpointPolicy
from vox_populi.train.objective import Objective
from vox_populi.train.outcome import TrainOutcome
from vox_tensor.errors import Problem, VoxError


@dataclass(frozen=True, slots=True)
class _Job:
    """A run whose inputs passed every check, before it has a folder."""

    planned: PlannedRun
    options: RunOptions
    inputs: InputFacts
    request: RunRequest
    initial: FoundAdapter | None
    """The adapter to start from (`--init-from`)."""
    crew: Crew
    """The processes that share the run."""

    @property
    def extent(self) -> RunExtent:
        """Upper bounds for the counters of its checkpoints."""
        plan = self.planned.plan
        return RunExtent(
            total_steps=plan.total_steps,
            steps_per_epoch=plan.steps_per_epoch,
            tokens_per_step=plan.batching.rows_per_step * plan.batching.seq_len,
        )

    def header_at(self, step: int) -> AdapterHeader:
        """Header of this run's adapter at a step."""
        return adapter_header(self.planned, self.inputs, step)


def train(
    planned: PlannedRun,
    options: RunOptions,
    sinks: Sequence[Sink],
    started: float,
    crew: Crew | None = None,
) -> TrainReport:
    """Execute a plan, or the rest of it, and write a run folder.

    Args:
        planned: The plan.
        options: What does not change the result.
        sinks: Receive every event.
        started: `time.monotonic()` when the run was asked for, which its time limit counts from.
        crew: The processes that share the run, of which this is the first; `None` for one alone.

    Raises:
        VoxError: As `pipeline.train.run_training` says.
    """
    require_memory(planned.plan)
    most = options.max_runtime_secs
    limit = None if most is None else TimeLimit(most, started)
    with stop_on_signals(options.on_stop, options.should_stop, limit) as stop:
        inputs = input_facts(planned)
        initial = read_initial_adapter(planned, inputs)
        request, crew = run_request(planned, inputs), crew or Crew()
        job = _Job(planned, options, inputs, request, initial, crew)
        if options.resume is not None and not options.force:
            check_source(options.resume, job.request, job.extent)
        with _open_folder(planned, options) as run_dir:
            start = _starting_point(job, run_dir)
            if start is None:
                manifest = check_finished_adapter(run_dir)
                crew.announce({"complete": manifest})
                return finished_report(planned, manifest, run_dir.path)
            resumed = start.step if start.checkpoint else None
            digest = inputs.base_digest
            crew.announce({"complete": None, "base_digest": digest, "resumed_from": resumed})
            return _train_in(run_dir, job, start, sinks, crew.stop_together(stop))


def _open_folder(planned: PlannedRun, options: RunOptions) -> RunDir:
    path = planned.contract.output_dir
    if options.folder_use.if_occupied is IfOccupied.CONTINUE:
        return RunDir.reopen(path)
    return RunDir.create(path, force=options.force)


def _starting_point(job: _Job, run_dir: RunDir) -> StartingPoint | None:
    """The starting point; `None` if the run is complete. Nothing is written yet."""
    if job.options.folder_use.if_occupied is not IfOccupied.CONTINUE or job.options.resume is None:
        return StartingPoint()
    refuse_another_request(run_dir, job.request)
    if is_complete(run_dir.path):
        return None
    return find_start(run_dir, job.options.resume, job.request, job.extent)


def _train_in(
    run_dir: RunDir, job: _Job, start: StartingPoint, sinks: Sequence[Sink], stop: CrewStop
) -> TrainReport:
    telemetry = TelemetryFile(run_dir.file(TELEMETRY_FILE), is_begun=False)
    loggers = _loggers(job, run_dir, start)
    sink = SinkGroup((telemetry, *loggers.sinks, *sinks))
    keep = job.options.keep_checkpoints
    saver = CheckpointSaver(run_dir.path, job.request, job.header_at, keep, sink, telemetry.sync)
    saver.keep_best = job.options.keep_best
    saver.last = start.checkpoint
    try:
        divided = job.planned.plan.ranks.is_divided
        samples = SampleAnswers(job.planned.preflight, job.options.samples, divided)
        files = _RunFiles(telemetry, loggers, samples)
        return _Run(job, run_dir, start, sink, stop, saver, files).train()
    finally:
        telemetry.close()
        loggers.close()


def _loggers(job: _Job, run_dir: RunDir, start: StartingPoint) -> RunLoggers:
    request = job.request
    settings = settings_to_log(request.contract, request.inputs, request.program)
    return RunLoggers.of(run_dir.path, job.options.report_to or (), settings, start.step)


@dataclass(frozen=True, slots=True)
class _RunFiles:
    """What writes files while a run is in progress."""

    telemetry: TelemetryFile
    loggers: RunLoggers
    samples: SampleAnswers


@dataclass(frozen=True, slots=True)
class _Run:
    """One run with its locked folder."""

    job: _Job
    run_dir: RunDir
    start: StartingPoint
    sink: Sink
    stop: CrewStop
    saver: CheckpointSaver
    files: _RunFiles

    def train(self) -> TrainReport:
        """Train, write, report; any failure is recorded as an event before it is raised."""
        times = RunTimes()
        self._emit_start()
        try:
            outcome, notes = self._train(times)
            report = self._write(outcome, times, notes)
        except BaseException as error:
            self._emit(EventName.TRAIN_FAILED, _failure_payload(error))
            located = _with_files(error, self.job.planned.preflight.train.rows)
            if located is error:
                raise
            raise located from error
        self._emit(EventName.TRAIN_COMPLETE, complete_payload(self.job.planned, outcome))
        return report

    def _begin(self) -> None:
        """Write the first files, now that all checks have passed."""
        run_dir, job = self.run_dir, self.job
        # First of all: a folder that has it can be gone on with.
        run_dir.write_json(REQUEST_FILE, job.request.as_json())
        run_dir.write_json(PREFLIGHT_FILE, preflight_record(job.planned, job.inputs))
        if job.options.check_rows:
            run_dir.write_json(CHECK_ROWS_FILE, check_rows(job.planned, job.inputs).as_json())
        telemetry = self.files.telemetry
        cut_telemetry(telemetry.path, self.start.step if self.start.checkpoint else None)
        telemetry.begin()
        self.files.loggers.begin()

    def _has_history(self) -> bool:
        """Whether `telemetry.jsonl` continues the lines of earlier sessions."""
        path = self.files.telemetry.path
        return self.start.checkpoint is not None and path.is_file() and path.stat().st_size > 0

    def _emit_start(self) -> None:
        """Emit `train_start`, unless a run resumed in its own folder already has it."""
        if not self._has_history():
            payload = train_start_payload(self.job.planned, self.job.inputs)
            self._emit(EventName.TRAIN_START, payload)
        if self.start.notes:
            checkpoint = self.start.checkpoint
            payload = {"step": self.start.step, "checkpoint": checkpoint and checkpoint.name}
            payload |= {"passed_over": list(self.start.passed_over)}
            payload |= {"notes": list(self.start.notes)}
            self._emit(EventName.TRAIN_RESUMED, payload)

    def _train(self, times: RunTimes) -> tuple[TrainOutcome, tuple[str, ...]]:
        """Train; also return the notes from loading."""
        plan, digest = self.job.planned.plan, self.job.inputs.base_digest
        with on_device(plan.device, plan.threads):
            with times.measure("load"):
                loaded = load_objective(self.job.planned, digest)
                self._begin()
                self._start_values(loaded.objective)
            self.files.samples.before(loaded.objective, self.run_dir)
            engine = self._engine(loaded.objective)
            self.job.crew.share_state(engine)
            self.stop.settle()
            self._leave_if_asked(self.start.step)
            with times.measure("train"):
                outcome = engine.run()
            if not outcome.interrupted:
                self.files.samples.after(loaded.objective, self.run_dir)
        if outcome.interrupted:
            self._leave_if_asked(outcome.steps)
        return outcome, (*loaded.notes, *self.files.samples.notes)

    def _start_values(self, objective: Objective) -> None:
        """Set the adapters to the values that the run starts from."""
        if self.job.initial is not None:
            objective.restore(self.job.initial.adapter.tensors)

    def _engine(self, objective: Objective) -> Engine:
        found, plan = self.job.planned.preflight, self.job.planned.plan
        options = self.job.options
        policy = CheckpointPolicy(self.saver, options.checkpoint_every, options.keep_best)
        engine = Engine(
            objective,
            plan_optimizer(plan, objective),
            Rows(found.train, found.valid, self.job.crew.ranks),
            engine_settings(self.job.planned),
            self.sink,
            self.stop,
            checkpoints=policy,
        )
        if self.start.checkpoint is not None:
            # Read again rather than held: these are copies of all that is trained, and more.
            state = read_state(self.start.checkpoint).state
            try:
                engine.restore(state)
            except ValueError as error:
                raise damaged(self.start.checkpoint, str(error)) from error
            here = {each.path.resolve() for each in list_checkpoints(self.run_dir.path)}
            if self.start.checkpoint.path.resolve() not in here:
                # Brought along from another folder, so that this one can be gone on with.
                self.saver(state)
        return engine

    def _leave_if_asked(self, step: int) -> None:
        last = self.saver.last
        self.stop.leave_if_asked(step, f"{last.path.parent.name}/{last.name}" if last else None)

    def _write(self, outcome: TrainOutcome, times: RunTimes, notes: tuple[str, ...]) -> TrainReport:
        """Write the results, the manifest last: with it the run is complete."""
        planned, inputs, run_dir = self.job.planned, self.job.inputs, self.run_dir
        with times.measure("save"):
            step = outcome.steps if outcome.best_step is None else outcome.best_step
            header = self.job.header_at(step)
            written = write_final_adapter(run_dir.path, planned, header, outcome.adapter)
        results = result_facts(planned, outcome, written)
        manifest = manifest_values(planned.contract, planned.plan, inputs, results)
        run_dir.write_atomic(MODEL_CARD_FILE, model_card(manifest).encode())
        tokens = outcome.tokens - outcome.tokens_before
        run_dir.write_json(TIMES_FILE, times.as_json(tokens, outcome.peak_memory_bytes))
        location = base_location(run_dir.path, planned.plan.model_dir)
        if location is not None and planned.contract.model_dir is not None:
            run_dir.write_json(BASE_LOCATION_FILE, location)
        run_dir.write_json(MANIFEST_FILE, manifest)
        if self.job.initial is not None:
            notes = (*self.job.initial.notes, *notes)
        self.job.crew.wait()
        return train_report(planned, outcome, run_dir.path, self.start, notes)

    def _emit(self, name: EventName, payload: JsonObject) -> None:
        self.sink.emit(Event(name, payload))


def _with_files(error: BaseException, rows: RowFile) -> BaseException:
    """Name the files in the engine's problems, which only have the indices of rows."""
    if type(error) is not RunFailedError:
        return error
    return RunFailedError(*(_in_files(problem, rows) for problem in error.problems))


def _in_files(problem: Problem, rows: RowFile) -> Problem:
    if problem.where is None:
        return problem
    indices, joint, more = problem.where.removeprefix("line ").partition(" and ")
    places = row_places(rows, [int(index) for index in indices.split(",")])
    return replace(problem, where=f"{places}{joint}{more}")


def _failure_payload(error: BaseException) -> JsonObject:
    """Codes and messages; places only if they are the engine's lines, since others may be paths."""
    problems = error.problems if isinstance(error, VoxError) else ()
    places = [problem.where for problem in problems] if type(error) is RunFailedError else []
    return {
        "ok": False,
        "interrupted": isinstance(error, RunInterruptedError | KeyboardInterrupt),
        "codes": [problem.code for problem in problems],
        "places": places,
        "message": " ".join(problem.what for problem in problems) or type(error).__name__,
    }
