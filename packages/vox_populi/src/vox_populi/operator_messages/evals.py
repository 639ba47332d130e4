"""Evaluation and its gates (MENS-V): task files, checks, jail, reports, policies, scorecards."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem


def jail_missing(reason: str) -> Problem:
    """Programs of a model cannot be locked in here, so none is run."""
    return Problem(
        code="MENS-V010",
        what=f"programs cannot be locked in on this machine: {reason or 'no reason'}.",
        fix="Use Linux on x86-64 or ARM64 with seccomp, or leave --run-code out.",
    )


def task_malformed(reason: str) -> Problem:
    """A task, or a document of tasks, that cannot be used."""
    return Problem(
        code="MENS-V001",
        what=f"{reason}.",
        fix="Correct the task; the page `Task files` of the docs describes every key.",
    )


def task_id_repeated(task_id: str, first: str) -> Problem:
    """Two tasks with one id, which reports and baselines could not tell apart."""
    return Problem(
        code="MENS-V002",
        what=f"the id {clipped(task_id)!r} is taken by the task at {first}.",
        fix="Give every task an id of its own.",
    )


TASKS_MISSING = Problem(
    code="MENS-V003",
    what="there are no tasks.",
    fix="Write at least one task; the page `Task files` of the docs shows how.",
)
"""Files without a single task."""


def code_not_allowed(count: int) -> Problem:
    """Tasks that run what the model writes, without permission to do so."""
    return Problem(
        code="MENS-V004",
        what=f"{count} tasks run the code of answers.",
        fix="Pass --run-code to run it locked in: no network, no files, limits of time and memory.",
    )


def report_invalid(reason: str) -> Problem:
    """A file that is not a report of an evaluation."""
    return Problem(
        code="MENS-V011",
        what=f"this is not a report of eval-local: {reason}.",
        fix="Pass a folder that `vox mens eval-local --output-dir` wrote, or its eval_report.json.",
    )


REPORT_EDITED = Problem(
    code="MENS-V012",
    what="the report was changed after it was written: it does not match its digest.",
    fix="Evaluate again; what was edited proves nothing.",
)
"""A report that does not match its own digest."""


def policy_malformed(reason: str) -> Problem:
    """A policy that cannot be used; nothing passes by it."""
    return Problem(
        code="MENS-V020",
        what=f"the policy cannot be used: {reason}.",
        fix="Correct it; the page `Evaluation gates` of the docs describes every key.",
    )


def gate_failed(name: str, message: str) -> Problem:
    """A rate that does not meet its rule."""
    return Problem(
        code="MENS-V021",
        what=f"{name}: {message}.",
        fix="Look at the failed answers on the report's page, then train again.",
    )


def gate_not_judged(name: str, message: str) -> Problem:
    """A rule that could not be judged, which counts as a miss."""
    return Problem(
        code="MENS-V022",
        what=f"{name} cannot be judged: {message}.",
        fix="Evaluate on the same tasks, with a check for each rate that the policy names.",
    )


RECEIPT_OCCUPIED = Problem(
    code="MENS-V023",
    what="there is something here that is not a gate receipt.",
    fix="Move it away, or pass --receipt FILE.",
)
"""Something that is not a receipt lies where the receipt should go."""


def note_gate_missed(name: str, message: str, where: str) -> str:
    """A rule that was not met and does not block."""
    return f"{where}: {name}: {message} (does not block)"


def suite_malformed(reason: str) -> Problem:
    """A suite of a scorecard that cannot be used."""
    return Problem(
        code="MENS-V030",
        what=f"the suite cannot be used: {reason}.",
        fix="Correct it; the page `Scorecards` of the docs describes every key.",
    )


def cycle_invalid(reason: str) -> Problem:
    """A file that is not a cycle of a scorecard."""
    return Problem(
        code="MENS-V031",
        what=f"this is not a cycle of a scorecard: {reason}.",
        fix="Pass a folder that `vox mens scorecard run` wrote, or its cycle.json.",
    )


CYCLE_EDITED = Problem(
    code="MENS-V032",
    what="the cycle was changed after it was written: its numbers or its digest do not fit.",
    fix="Measure it again with `vox mens scorecard run`.",
)
"""A cycle whose numbers are not those of its events, or of its digest."""

CYCLE_OF_OTHER_SUITE = Problem(
    code="MENS-V033",
    what="the cycle was measured on another suite: tasks, seed, attempts or limits differ.",
    fix="Measure it again with this suite, or pass the suite that it was measured on.",
)
"""A cycle that was measured on another suite."""


def run_of_other_backend(wanted: str, found: str) -> Problem:
    """A run that another kernel trained than it is passed for."""
    return Problem(
        code="MENS-V034",
        what=f"this is not a run of --backend {wanted}: its manifest says {found}.",
        fix="Pass a run of each backend: --lora-run RUN --qlora-run RUN.",
    )


ADAPTER_NOT_OF_RUN = Problem(
    code="MENS-V035",
    what="the run's manifest lists another adapter under this name.",
    fix="Measure a run folder as training left it.",
)
"""An adapter that is not the one that the run's manifest lists."""


def runs_do_not_compare(lora: str, qlora: str, differs: Sequence[str]) -> Problem:
    """Two runs that differ in more than their backend."""
    return Problem(
        code="MENS-V036",
        what=f"{lora} and {qlora} do not compare: they differ in {', '.join(differs)}.",
        fix="Train both backends on the same base, rows, tokenizer and template.",
    )


def promotion_held(reason: str) -> Problem:
    """Enough evidence, and it speaks against a promotion."""
    return Problem(
        code="MENS-V037",
        what=f"hold: {reason}.",
        fix="Keep the lane research, and measure again after a change.",
    )


def promotion_lacks_evidence(reason: str) -> Problem:
    """Too little evidence to promote, whatever it says."""
    return Problem(
        code="MENS-V038",
        what=f"insufficient: {reason}.",
        fix="Measure whole cycles of both backends on one suite: vox mens scorecard run.",
    )


def latency_above(p95: float, limit: float) -> Problem:
    """Answers that take longer than asked for."""
    return Problem(
        code="MENS-V040",
        what=f"95 % of the answers take up to {p95:.1f} ms, above --max-p95-ms {limit:g}.",
        fix="Use a smaller model or a faster device, or allow more.",
    )
