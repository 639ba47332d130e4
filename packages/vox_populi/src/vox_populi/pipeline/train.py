"""Planning and training: request, report and the two functions. No torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vox_populi import extras, number_ranges
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.setting import out_of_range, setting, settings_of
from vox_populi.errors import ConfigError, PeerLostError
from vox_populi.events import Sink
from vox_populi.files.json_numbers import JsonObject, finite_or_none
from vox_populi.files.output_guard import IfOccupied
from vox_populi.loggers.logger_choice import (
    LOGGER_WORDS,
    ReportTo,
    parse_report_to,
    report_to_as_text,
)
from vox_populi.loggers.run_loggers import require_loggers
from vox_populi.pipeline.graph_proof import proven
from vox_populi.pipeline.machine_probe import probe_machine, with_ranks
from vox_populi.pipeline.rank_place import ALONE, RankPlace, rank_place
from vox_populi.pipeline.runners import NEEDED_TO_RUN, load_runner
from vox_populi.plan.device_choice import choose_device
from vox_populi.plan.execution_planner import ExecutionPlan, plan_execution
from vox_populi.plan.output_folder import AS_NEW_FOLDER, FolderUse
from vox_populi.plan.plan_report import plan_as_json
from vox_populi.plan.preflight import PreflightReport, preflight


@dataclass(frozen=True, slots=True)
class Resume:
    """A request to resume a run instead of starting one."""

    source: Path | None = None
    """A checkpoint, or a run folder for its newest; `None`: the newest of the output folder, or the
    beginning if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Options that do not change the result of a run."""

    force: bool = False
    """Rename an existing output folder (`<name>.old-1`, …) and start over."""
    log_every: int = setting(
        20, "Steps between progress lines.", allowed=number_ranges.COUNT, refused_at_once=True
    )
    """Telemetry has every step."""
    checkpoint_every: int | None = setting(
        None,
        "Steps between checkpoints.",
        allowed=number_ranges.COUNT,
        refused_at_once=True,
        default_text="only when stopped",
    )
    """`None`: only when a signal stops the run."""
    keep_checkpoints: int = setting(
        2, "Number of checkpoints to keep.", allowed=number_ranges.COUNT, refused_at_once=True
    )
    """How many to keep; the one before the newest is used if the newest is damaged."""
    keep_best: bool = setting(
        True, "Keep the checkpoint with the lowest held-out loss too, as checkpoints/best."
    )
    resume: Resume | None = None
    """Resume from a checkpoint; `force` takes precedence and starts over."""
    max_runtime_secs: int | None = setting(
        None,
        "Stop after this many seconds, with a checkpoint.",
        allowed=number_ranges.COUNT,
        refused_at_once=True,
    )
    """Counted from the start of the command. The run stops after the step that reaches the limit,
    not before its first one; resuming starts it again."""
    check_rows: bool = setting(
        True, "Keep a few rows as token ids in the run folder, to check merges with."
    )
    report_to: ReportTo | None = setting(
        None,
        f"Loggers to report to as well, comma-separated: {', '.join(LOGGER_WORDS)}.",
        parse=parse_report_to,
        as_text=report_to_as_text,
        metavar="LIST",
    )
    """Their files are in the run folder; nothing leaves the machine unless their own
    configuration says so."""
    samples: int = setting(
        0,
        "Held-out rows that are answered before and after training; keeps their text.",
        allowed=number_ranges.COUNT_OR_NONE,
        refused_at_once=True,
    )
    """Written to `samples.json`; with 0, no file of a run has text of rows."""
    on_stop: Callable[[str], None] | None = field(default=None, compare=False)
    """Called with a message, in a separate thread, as soon as a signal asks the run to stop."""
    on_lost: Callable[[PeerLostError], None] | None = field(default=None, compare=False)
    """Called in a separate thread when another process of the run is not heard of any more; after
    that this process ends."""
    should_stop: Callable[[], bool] | None = field(default=None, compare=False)
    """Called between steps; if true, the run stops with a checkpoint, as after SIGINT."""
    reads: tuple[Path, ...] = ()
    """Files that the request was read from; an output folder never replaces them."""

    def __post_init__(self) -> None:
        problems = tuple(out_of_range(self, settings_of(RunOptions)))
        if problems:
            raise ConfigError(*problems)

    @property
    def folder_use(self) -> FolderUse:
        """What the run will do with its output folder."""
        goes_on = IfOccupied.REFUSE if self.resume is None else IfOccupied.CONTINUE
        # A signal writes one; with regular ones, one more than remain is there at times.
        is_regular = self.checkpoint_every is not None or self.keep_best
        most = (self.keep_checkpoints + 1 if is_regular else 1) + self.keep_best
        return FolderUse(
            if_occupied=IfOccupied.MOVE_ASIDE if self.force else goes_on,
            most_checkpoints=most,
            reads=self.reads,
            resumed=None if self.force or self.resume is None else self.resume.source,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """A request that passed every check, and its plan."""

    contract: FinetuneContract
    preflight: PreflightReport
    plan: ExecutionPlan
    said_before: tuple[str, ...] = ()
    """Notes on how the request was made, such as the preset that `auto` became."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on settings without effect and other things the operator should know."""
        return tuple(dict.fromkeys((*self.said_before, *self.preflight.notes, *self.plan.notes)))

    @property
    def shown_notes(self) -> tuple[str, ...]:
        """All notes, including those that are not recorded."""
        return (*self.notes, *self.preflight.local_notes)

    def as_json(self) -> JsonObject:
        """The document of `--dry-run --json`."""
        return {**plan_as_json(self.plan), "notes": list(self.shown_notes)}


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldoutPoint:
    """One evaluation during a run."""

    step: int
    """Optimizer steps done; 0 is the base model."""
    loss: float
    """Mean over the supervised tokens of the held-out rows, in nats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainReport:
    """The results of a finished run and the paths of its files."""

    run: Path
    steps: int
    planned_steps: int
    tokens: int
    """Tokens of the rows learned from, supervised or not."""
    supervised_tokens: int
    train_loss: float | None
    """Mean over the supervised tokens of the last epoch that was trained on, in nats."""
    heldout_loss_before: float | None
    """Held-out loss before training; `None` without held-out rows, like the next two."""
    heldout_loss_after: float | None
    evaluations: tuple[HeldoutPoint, ...] = ()
    stopped_early: bool = False
    seconds: float
    """Wall time of the training loop, evaluations included, loading excluded."""
    peak_memory_bytes: int | None
    device: str
    compute_dtype: str
    lane: str | None = None
    """`research` or `production`: what the run may be used for without a promotion."""
    graph_id: str | None = None
    """The trained graph; losses of other graphs are not comparable with full-graph losses."""
    artifacts: Mapping[str, Path]
    """Paths by file kind: `adapter`, `manifest`, `telemetry`, `model_card`, …"""
    resumed_from: int | None = None
    """Step of the checkpoint that this session resumed from."""
    tokens_before: int = 0
    """The part of `tokens` from earlier sessions; `seconds` covers only this session."""
    saved_tokens: int = 0
    """The part of `tokens` that was not computed, since other rows of a step have them too."""
    notes: tuple[str, ...] = ()

    @property
    def tokens_per_second(self) -> float:
        """All tokens of this session, not only supervised ones."""
        return (self.tokens - self.tokens_before) / self.seconds if self.seconds > 0 else 0.0

    def as_json(self) -> JsonObject:
        """The fields of `vox mens train --json`."""
        return {
            "run": str(self.run),
            "steps": self.steps,
            "planned_steps": self.planned_steps,
            "tokens": self.tokens,
            "supervised_tokens": self.supervised_tokens,
            **({"saved_tokens": self.saved_tokens} if self.saved_tokens else {}),
            "train_loss": finite_or_none(self.train_loss),
            "heldout_loss_before": finite_or_none(self.heldout_loss_before),
            "heldout_loss_after": finite_or_none(self.heldout_loss_after),
            "evaluations": [{"step": p.step, "loss": p.loss} for p in self.evaluations],
            "stopped_early": self.stopped_early,
            "seconds": round(self.seconds, 3),
            "tokens_per_second": round(self.tokens_per_second, 1),
            "peak_memory_bytes": self.peak_memory_bytes,
            "device": self.device,
            "compute_dtype": self.compute_dtype,
            "lane": self.lane,
            "graph_id": self.graph_id,
            "artifacts": {kind: str(path) for kind, path in self.artifacts.items()},
            "resumed_from": self.resumed_from,
            "notes": list(self.notes),
        }


def plan_training(
    contract: FinetuneContract, use: FolderUse = AS_NEW_FOLDER, place: RankPlace = ALONE
) -> PlannedRun:
    """Check all inputs and decide what would run; write nothing, load no weights.

    Args:
        contract: The request.
        use: What a run will do with its output folder.
        place: The processes that would share the run.

    Raises:
        PreflightError: With every finding about the inputs.
        PlanError: When the base model cannot meet the request.
        EnvironmentFailure: When only disk, permissions, a lock or a device is in the way.
    """
    return planned(contract, preflight(contract, use), place, is_run=False)


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
        RunFailedError: For a loss that is not finite, with the rows that caused it; for a request
            that differs from the resumed run's, with every difference.
        ArtifactError: When all checkpoints to resume from are damaged, or the adapter to start
            from does not fit.
        EnvironmentFailure: For a locked folder or one that is not empty, a full disk or device.
        RunInterruptedError: After SIGINT, SIGTERM or SIGHUP, between two steps; its `exit_code` is
            130, 143 or 129. Its subclass `RunOutOfTimeError`, with 124, after `max_runtime_secs`.
    """
    started = time.monotonic()
    extras.require(*NEEDED_TO_RUN)
    require_loggers(options.report_to or ())
    place = rank_place()
    if place.size > 1:
        shared = load_runner("train_ranks")
        its: TrainReport = shared.train_together(contract, options, sinks, started, place)
        return its
    found = preflight(contract, options.folder_use)
    # Only now: what is wrong with the inputs is said without waiting for torch.
    module = load_runner("train_run")
    report: TrainReport = module.train(planned(contract, found), options, sinks, started)
    return report


def planned(
    contract: FinetuneContract,
    found: PreflightReport,
    place: RankPlace = ALONE,
    *,
    is_run: bool = True,
) -> PlannedRun:
    """Decide what will run, for inputs that passed preflight.

    Args:
        contract: The request.
        found: What preflight found.
        place: The processes that share the run.
        is_run: Whether the plan is for this machine.
    """
    contract = found.contract
    machine = probe_machine(contract.compute.device, contract.compute.dtype)
    machine = with_ranks(machine, contract.sharing, place, is_run=is_run)
    device = choose_device(contract.compute, machine).device
    found = replace(found, graph=proven(found.inventory, found.graph, device))
    plan = plan_execution(contract, found.inventory, found.graph, found.facts, machine)
    return PlannedRun(contract=contract, preflight=found, plan=plan)
