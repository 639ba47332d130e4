"""An evaluation of tasks as readable text: what was measured, rates, then groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vox_cli.eval_text import ARROW, NOTHING, table_lines
from vox_cli.report_text import aligned
from vox_populi.evals.eval_report import rates_beside
from vox_populi.evals.rates import Rate
from vox_populi.evals.task_results import TaskResult, groups_of
from vox_populi.pages.eval_page import interval_text
from vox_populi.pages.page_frame import percent
from vox_populi.pipeline.eval_local import EvalLocalReport

_MOST_FAILURES = 5


def eval_local_text(report: EvalLocalReport) -> str:
    """Rates of all tasks with their intervals; sources and tags; the first failures."""
    base = None if report.base is None else report.base.results
    results = report.measured.results
    head = aligned(
        [
            ("model", report.document["model"]),
            ("adapter", report.document["adapter"]),
            ("tasks", f"{len(results):,}, {sum(len(each.samples) for each in results):,} answers"),
            ("time", f"{report.seconds:.1f} s"),
            ("written", report.output),
        ]
    )
    parts = [head, _lines(_rates(base, results))]
    for name, by_tag in (("source", False), ("tag", True)):
        groups = _groups(name, base, results, by_tag=by_tag)
        if len(groups) > (1 if by_tag else 2):
            parts.append(_lines(groups))
    failures = list(_failures(results))
    if failures:
        parts.append(aligned(failures))
    return "\n\n".join(parts)


def _lines(rows: list[list[str]]) -> str:
    return "\n".join(table_lines(rows))


def _rates(base: Sequence[TaskResult] | None, results: Sequence[TaskResult]) -> list[list[str]]:
    rows = [["rate", "value", "95 % interval", "tasks"]]
    for name, before, rate in rates_beside(base, results):
        rows.append([name, _both(before, rate), interval_text(rate), f"{rate.tasks:,}"])
    return rows


def _groups(
    name: str, base: Sequence[TaskResult] | None, results: Sequence[TaskResult], *, by_tag: bool
) -> list[list[str]]:
    before = {} if base is None else groups_of(base, by_tag=by_tag)
    rows = [[name, "pass_at_1", "95 % interval", "tasks"]]
    for group, members in groups_of(results, by_tag=by_tag).items():
        (_, old, rate), *_ = rates_beside(before.get(group), members)
        rows.append([group, _both(old, rate), interval_text(rate), f"{rate.tasks:,}"])
    return rows


def _failures(results: Sequence[TaskResult]) -> Iterator[tuple[str, str]]:
    failed = [each for each in results if each.passed < len(each.samples)]
    for result in failed[:_MOST_FAILURES]:
        reasons = next(each.judged.reasons for each in result.samples if not each.judged.passed)
        yield f"failed: {result.task.task_id}", reasons[0]
    if len(failed) > _MOST_FAILURES:
        yield "failed", f"{len(failed) - _MOST_FAILURES} more; --output-dir writes every answer"


def _both(before: Rate | None, after: Rate) -> str:
    if before is None:
        return percent(after.value) if after.tasks else NOTHING
    return f"{percent(before.value)}{ARROW}{percent(after.value)}"
