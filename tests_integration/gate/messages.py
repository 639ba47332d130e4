"""The acceptance gate (MENS-G): its manifest, its rows and the tests behind them."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem

_NAMED = 5


def gate_needs_pytest() -> Problem:
    """The gate needs pytest to run tests."""
    return Problem(
        code="MENS-G001",
        what="the gate needs the Python module pytest, which is not installed.",
        fix="Run: pip install pytest (in a clone: make setup)",
    )


def gate_manifest_unreadable(path: str, reason: str) -> Problem:
    """The gate's rows cannot be read as TOML."""
    return Problem(
        code="MENS-G003",
        what=f"it cannot be read: {clipped(reason)}.",
        fix="Pass a TOML file of rows with --manifest, or restore it from version control.",
        where=path,
    )


def gate_manifest_invalid(path: str, place: str, reason: str) -> Problem:
    """A field of the gate's manifest is missing, unknown or of the wrong type."""
    return Problem(
        code="MENS-G004",
        what=f"{clipped(place)} {clipped(reason)}.",
        fix="Correct the file; docs/src/runbook/acceptance.md lists the fields of a row.",
        where=path,
    )


def gate_profile_unknown(profile: str, known: Sequence[str]) -> Problem:
    """A profile that the manifest does not have."""
    return Problem(
        code="MENS-G005",
        what=f"there is no profile {clipped(profile)!r}.",
        fix=f"Choose one of: {', '.join(known)}.",
        where="--profile",
    )


def gate_row_selects_nothing(row: str, selector: str, paths: Sequence[str]) -> Problem:
    """A selector that matches no test, because it was renamed, moved or never written."""
    return Problem(
        code="MENS-G010",
        what=f"{clipped(selector)!r} selects no test in {clipped(', '.join(paths))}.",
        fix="Restore the test's name, or change the row together with its documentation.",
        where=f"row {row}",
    )


def gate_row_lacks_test(row: str, test: str) -> Problem:
    """A test listed by its row is not among the selected tests."""
    return Problem(
        code="MENS-G011",
        what=f"there is no test {clipped(test)}.",
        fix="Restore the test's name, or change the row together with its documentation.",
        where=f"row {row}",
    )


def gate_mark_not_selected(row: str, tests: Sequence[str]) -> Problem:
    """A test has a row's mark, but the row's selectors do not match it."""
    return Problem(
        code="MENS-G012",
        what=f"{_names(tests)} have the row's mark, but its selectors do not match them.",
        fix="Restore their names, or remove the mark.",
        where=f"row {row}",
    )


def gate_row_has_no_mark(row: str) -> Problem:
    """None of the selected tests has the row's mark."""
    return Problem(
        code="MENS-G013",
        what="none of the selected tests has the row's mark.",
        fix=f'Mark the test that proves it with @pytest.mark.requirement("{row}").',
        where=f"row {row}",
    )


def gate_tests_failed(row: str, tests: Sequence[str]) -> Problem:
    """Tests of a row ran and failed."""
    count = f"{len(tests)} test{'s' * (len(tests) > 1)} failed"
    return Problem(
        code="MENS-G014",
        what=f"{count}: {_names(tests)}.",
        fix="Run it on its own: python -m pytest " + clipped(tests[0].split("[")[0]),
        where=f"row {row}",
    )


def gate_row_skipped(row: str, count: int) -> Problem:
    """Every selected test was skipped, so nothing was proved."""
    return Problem(
        code="MENS-G015",
        what=f"all {count} selected tests were skipped.",
        fix="Install what they need (make setup); python -m pytest -rs shows their reasons.",
        where=f"row {row}",
    )


def gate_file_not_collected(where: str, reason: str) -> Problem:
    """A test file that cannot be imported, so that its tests were not selected."""
    return Problem(
        code="MENS-G016",
        what=f"its tests cannot be collected: {clipped(reason)}.",
        fix="Run it on its own with python -m pytest, and fix what it reports.",
        where=where,
    )


def gate_session_died(code: int, last_line: str) -> Problem:
    """The test runner ended before all selected tests had an outcome."""
    return Problem(
        code="MENS-G017",
        what=f"pytest ended with {code} before every test had run: {clipped(last_line)}",
        fix="Read what it printed above, or run python -m pytest on the row's paths.",
    )


def note_gate_stopped(count: int) -> str:
    """The remaining rows were not run after the first failure."""
    return f"{count} rows were not completed; --keep-going runs every row."


def note_gate_variable_unused(name: str) -> str:
    """An environment variable that the gate ignores."""
    return f"{name} has no effect on the gate."


def _names(tests: Sequence[str]) -> str:
    more = f" and {len(tests) - _NAMED} more" if len(tests) > _NAMED else ""
    return ", ".join(clipped(test) for test in tests[:_NAMED]) + more
