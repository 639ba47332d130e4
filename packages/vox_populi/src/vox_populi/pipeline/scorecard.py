"""Scorecards of both backends: requests, reports and functions. No torch but in `run`'s runner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vox_populi.contract.setting_groups import ComputeSettings
from vox_populi.errors import ArtifactError, DataError
from vox_populi.evals.eval_task import EvalTask
from vox_populi.evals.scorecard_cycle import Cycle, read_cycle
from vox_populi.evals.scorecard_decision import Decision, Verdict, decide
from vox_populi.evals.scorecard_suite import ScorecardSuite, digest_of_suite
from vox_populi.evals.task_files import TaskFile, read_tasks
from vox_populi.files.json_numbers import JsonObject
from vox_populi.files.json_report import HIDDEN, JsonReport, json_fields, shown
from vox_populi.files.output_guard import Reads, require_new_folder
from vox_populi.files.staged_folder import StagedFolder
from vox_populi.files.whole_file import pretty_json
from vox_populi.operator_messages import evals as say
from vox_populi.pages.scorecard_page import decision_page
from vox_populi.pipeline.runners import load_runner
from vox_populi.runs.adapter_place import require_run_adapter
from vox_tensor.errors import Problem

DECISION_FILE, DECISION_PAGE = "decision.json", "decision.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteFiles:
    """A suite and the files of its tasks."""

    path: Path
    suite: ScorecardSuite
    files: tuple[TaskFile, ...]

    def tasks(self) -> tuple[EvalTask, ...]:
        """The tasks, each asked once with the seed of the suite.

        Raises:
            DataError: For tasks that cannot be used.
        """
        return read_tasks(self.files, {"seed": self.suite.seed, "samples": 1})


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleRequest:
    """One cycle to measure: a run of each backend."""

    suite: SuiteFiles
    lora: Path
    qlora: Path
    output: Path
    model_dir: Path | None = None
    """The base of both, if it is not where they were trained."""
    run_code: bool = False
    compute: ComputeSettings = field(default_factory=ComputeSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleReport:
    """A measured cycle."""

    cycle: Cycle = field(metadata=HIDDEN)
    output: Path
    seconds: float = field(metadata=shown(digits=3))
    notes: tuple[str, ...] = ()

    def as_json(self) -> JsonObject:
        """The file of the cycle, with its place and the time it took."""
        return {**self.cycle.document(), **json_fields(self)}


def run_cycle(request: CycleRequest) -> CycleReport:
    """Measure both runs on the suite and write the cycle.

    Raises:
        VoxError: For an unusable suite, or runs that are not of these backends or do not compare.
    """
    reads = Reads(whole=(request.lora, request.qlora))
    module = load_runner(
        "scorecard_run",
        lambda: require_run_adapter(request.lora),
        lambda: require_run_adapter(request.qlora),
        lambda: require_new_folder(request.output, reads),
    )
    report: CycleReport = module.run_cycle(request)
    return report


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What was verified."""

    suite: str | None
    """Digest of the suite, if one was given."""
    cycles: tuple[Cycle, ...]

    def as_json(self) -> JsonObject:
        """Digests of what was verified."""
        return {
            "suite": self.suite,
            "cycles": [
                {"file": each.where, "sha256": each.sha256, "suite": each.suite_digest}
                for each in self.cycles
            ],
        }


def verify(suite: SuiteFiles | None, cycles: tuple[Path, ...]) -> VerifyReport:
    """Check a suite and its tasks, and cycles: form, digests, and KPIs computed again.

    Raises:
        VoxError: With what is wrong; a cycle of another suite is, if a suite is given.
    """
    digest = None if suite is None else digest_of_suite(suite.suite, suite.tasks())
    read = tuple(read_cycle(path) for path in cycles)
    others = [cycle for cycle in read if digest is not None and cycle.suite_digest != digest]
    if others:
        raise ArtifactError(*(say.CYCLE_OF_OTHER_SUITE.at(cycle.where) for cycle in others))
    return VerifyReport(suite=digest, cycles=read)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionReport(JsonReport):
    """A verdict."""

    decision: Decision = field(metadata=HIDDEN)
    document: Mapping[str, object] = field(metadata=shown(inline=True))
    output: Path | None

    @property
    def ok(self) -> bool:
        """Whether the candidate is promoted."""
        return self.decision.verdict is Verdict.PROMOTE

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Why it is not."""
        if self.ok:
            return ()
        words = (
            say.promotion_held
            if self.decision.verdict is Verdict.HOLD
            else say.promotion_lacks_evidence
        )
        return tuple(words(reason) for reason in self.decision.reasons)


def decide_cycles(paths: tuple[Path, ...], output: Path | None) -> DecisionReport:
    """Decide by some cycles, and write the decision and its page if asked.

    A cycle that was edited or is none counts as a reason, never as evidence.

    Raises:
        PreflightError: When the output would replace something.
    """
    if output is not None:
        require_new_folder(output, Reads(kept=paths))
    cycles, unusable = [], []
    for path in paths:
        try:
            cycles.append(read_cycle(path))
        except (ArtifactError, DataError) as error:
            unusable += [f"{each.where}: {each.what.rstrip('.')}" for each in error.problems]
    decision = decide(cycles, unusable)
    document = decision.document()
    if output is not None:
        with StagedFolder.create(output) as staged:
            staged.write(DECISION_FILE, pretty_json(document))
            staged.write(DECISION_PAGE, decision_page(decision).encode())
            staged.publish()
    return DecisionReport(decision=decision, output=output, document=document)
