"""What a run of the gate found, row by row: for people, for scripts and for a file."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests_integration.gate import messages as say_gate
from tests_integration.gate.profiles import GateManifest, GateRow
from tests_integration.gate.selection import selected_tests, selection_problems
from tests_integration.gate.session import SessionRecord, TestOutcome, TestRecord
from vox_populi.errors import EnvironmentFailure
from vox_populi.operator_messages import environment as say_environment
from vox_populi.version import __version__
from vox_tensor.atomic_file import replaced_file
from vox_tensor.errors import Problem
from vox_tensor.visible_text import one_line

REPORT_VERSION = 1


class RowOutcome(StrEnum):
    """How a row ended; only the first is a pass."""

    PASSED = "passed"
    FAILED = "failed"
    UNTIED = "untied"
    """Its selectors, names and marks do not meet the tests that are there."""
    SKIPPED = "skipped"
    """Every test skipped itself, so nothing was proved."""
    NOT_RUN = "not_run"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowResult:
    """One row with its tests."""

    row: GateRow
    outcome: RowOutcome
    tests: Mapping[str, TestRecord]
    problems: tuple[Problem, ...]

    @property
    def seconds(self) -> float:
        """The seconds that its tests took; a test of two rows counts for both."""
        return sum(test.seconds for test in self.tests.values())

    def count(self, outcome: TestOutcome) -> int:
        """How many of its tests ended so."""
        return sum(test.outcome is outcome for test in self.tests.values())

    def as_json(self) -> dict[str, object]:
        """The row as the report has it."""
        return {
            "id": self.row.id,
            "title": self.row.title,
            "select": list(self.row.select),
            "outcome": self.outcome.value,
            "tests_selected": len(self.tests),
            **{each.value: self.count(each) for each in TestOutcome},
            "seconds": round(self.seconds, 6),
            "docs": self.row.docs,
            "problems": [problem.as_json() for problem in self.problems],
            "tests": [
                {"id": id, "outcome": test.outcome.value, "seconds": round(test.seconds, 6)}
                for id, test in self.tests.items()
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """The whole gate."""

    profile: str
    manifest: Path
    rows: tuple[RowResult, ...]
    seconds: float
    session_problems: tuple[Problem, ...]
    """Of the test process, not of a single row."""

    @property
    def passed(self) -> bool:
        """Whether every row did."""
        return not self.session_problems and all(
            each.outcome is RowOutcome.PASSED for each in self.rows
        )

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All of them, those of rows in the order of the rows."""
        return (*self.session_problems, *(p for each in self.rows for p in each.problems))

    @property
    def n_tests(self) -> int:
        """Different tests that were run."""
        ran = {
            id
            for each in self.rows
            for id, test in each.tests.items()
            if test.outcome is not TestOutcome.NOT_RUN
        }
        return len(ran)

    @property
    def n_not_run(self) -> int:
        """Rows that an earlier miss kept from running."""
        return sum(each.outcome is RowOutcome.NOT_RUN for each in self.rows)

    @property
    def note(self) -> str | None:
        """What to say of rows that were not run."""
        return say_gate.note_gate_stopped(self.n_not_run) if self.n_not_run else None

    def as_json(self) -> dict[str, object]:
        """The document of `--report`, and the fields of `--json`."""
        return {
            "schema_version": REPORT_VERSION,
            "vox_version": __version__,
            "profile": self.profile,
            "manifest": str(self.manifest),
            "passed": self.passed,
            "seconds": round(self.seconds, 6),
            "tests_run": self.n_tests,
            "rows": [each.as_json() for each in self.rows],
            "problems": [problem.as_json() for problem in self.problems],
        }

    def write(self, path: Path) -> None:
        """Replace a report file in one step.

        Raises:
            EnvironmentFailure: When it cannot be written.
        """
        text = json.dumps(self.as_json(), indent=2, ensure_ascii=False) + "\n"
        try:
            with replaced_file(path) as handle:
                handle.write(text.encode("utf-8"))
        except OSError as error:
            raise EnvironmentFailure(
                say_environment.file_not_written(error).at(str(path))
            ) from None

    def text(self) -> str:
        """A line per row, and one for all."""
        width = max(len(one_line(each.row.id)) for each in self.rows)
        lines = [f"{'row':<{width}}  {'outcome':<7}  {'tests':>5}  {'seconds':>7}"]
        for each in self.rows:
            skipped = each.count(TestOutcome.SKIPPED)
            more = f" ({skipped} skipped)" if skipped else ""
            lines.append(
                f"{one_line(each.row.id):<{width}}  {each.outcome.value:<7}  {len(each.tests):>5}"
                f"  {each.seconds:>7.1f}  {one_line(each.row.title)}{more}"
            )
        verdict = "passed" if self.passed else "missed"
        lines.append(
            f"gate {self.profile} {verdict}: {len(self.rows)} rows, {self.n_tests} tests,"
            f" {self.seconds:.1f} s"
        )
        return "\n".join(lines)


def judge(
    manifest: GateManifest,
    profile: str,
    rows: Sequence[GateRow],
    session: SessionRecord,
    seconds: float,
) -> GateReport:
    """Tell for each row whether it holds.

    Nothing is taken for granted: a row passes when its tests were found by their names, carry its
    mark, ran, and at least one of them passed and none failed.
    """
    results = tuple(_judge_row(row, session) for row in rows)
    return GateReport(
        profile=profile,
        manifest=manifest.path,
        rows=results,
        seconds=seconds,
        session_problems=_session_problems(session, results),
    )


def _judge_row(row: GateRow, session: SessionRecord) -> RowResult:
    if session.collected is None:
        return RowResult(row=row, outcome=RowOutcome.NOT_RUN, tests={}, problems=())
    untied = selection_problems(row, session.collected)
    chosen = selected_tests(row, session.collected)
    tests = {test.id: session.tests.get(test.id, TestRecord()) for test in chosen}
    failed = [id for id, test in tests.items() if test.outcome is TestOutcome.FAILED]
    problems = list(untied)
    if failed:
        problems.append(say_gate.gate_tests_failed(row.id, failed))
    outcome = _outcome(tests.values(), is_untied=bool(untied))
    if outcome is RowOutcome.SKIPPED:
        problems.append(say_gate.gate_row_skipped(row.id, len(tests)))
    return RowResult(row=row, outcome=outcome, tests=tests, problems=tuple(problems))


def _outcome(tests: Collection[TestRecord], *, is_untied: bool) -> RowOutcome:
    outcomes = {test.outcome for test in tests}
    if TestOutcome.FAILED in outcomes:
        return RowOutcome.FAILED
    if is_untied:
        return RowOutcome.UNTIED
    if TestOutcome.NOT_RUN in outcomes:
        return RowOutcome.NOT_RUN
    return RowOutcome.PASSED if TestOutcome.PASSED in outcomes else RowOutcome.SKIPPED


def _session_problems(session: SessionRecord, results: Sequence[RowResult]) -> tuple[Problem, ...]:
    uncollected = tuple(
        say_gate.gate_file_not_collected(where, reason)
        for where, reason in session.uncollected.items()
    )
    is_explained = bool(uncollected) or any(each.problems for each in results)
    is_whole = session.exit_code == 0 and all(
        each.outcome is not RowOutcome.NOT_RUN for each in results
    )
    # 1: a test failed or a file is broken, 2 and 5: stopped at a broken file or row.
    is_orderly = session.exit_code in (0, 1, 2, 5)
    if is_orderly and (is_explained or is_whole):
        return uncollected
    return (*uncollected, say_gate.gate_session_died(session.exit_code, session.last_line))
