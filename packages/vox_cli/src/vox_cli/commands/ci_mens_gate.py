"""`vox ci mens-gate`: the rows of the acceptance runbook, run, judged and reported."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.reported_failure import ReportedFailureError
from vox_populi import extras
from vox_populi.errors import ConfigError, EnvironmentFailure
from vox_populi.operator_messages import environment as say_environment
from vox_populi.operator_messages import usage as say_usage
from vox_tensor.errors import FailureKind

DEFAULT_PROFILE = "m1m4"
_GATE = Path("tests_integration", "gate", "run.py")
"""Rows, pytest plugin and report live with the tests that they are about, not in this package."""


class GateMissedError(ReportedFailureError):
    """A row of the gate did not pass (exit 6)."""

    kind = FailureKind.GATE_MISSED


def mens_gate(
    console: Console,
    profile: Annotated[
        str, flags.text("Which rows to run.", "m1m4|training|ci_full", DEFAULT_PROFILE)
    ] = DEFAULT_PROFILE,
    report: Annotated[Path | None, flags.path("Also write the report to a file.", "FILE")] = None,
    manifest: Annotated[
        Path | None, flags.path("File of rows, if not the one of this workspace.", "FILE")
    ] = None,
    keep_going: Annotated[
        bool, flags.switch("Run every row, even after a failure.", "--keep-going")
    ] = False,
) -> None:
    """Run the rows of acceptance.toml that belong to a profile; a failed row gives exit code 6.

    A row fails when a test fails, when every test is skipped, and when a selector, a listed test
    or a mark matches no test: a renamed test never counts as one that was run.
    """
    if report is not None:
        _require_place(report)
    result = _load_gate().run_gate(profile, manifest, console.note, keep_going=keep_going)
    if report is not None:
        result.write(report)
    _show(console, result)


def _load_gate() -> ModuleType:
    """The gate of the clone around the working folder, else of the one this package runs from."""
    for folder in (Path.cwd(), *Path.cwd().parents, *Path(__file__).parents):
        if (folder / _GATE).is_file():
            return extras.load_from(folder, "tests_integration.gate.run")
    raise ConfigError(say_usage.gate_file_missing(_GATE.parent.as_posix()).at(str(Path.cwd())))


def _require_place(path: Path) -> None:
    """Refuse a report that cannot be written before spending minutes on it."""
    code = errno.EISDIR if path.is_dir() else 0 if path.parent.is_dir() else errno.ENOENT
    if code:
        error = OSError(code, os.strerror(code))
        raise EnvironmentFailure(say_environment.file_not_written(error).at(str(path)))


def _show(console: Console, result: Any) -> None:
    if not console.as_json:
        console.result(result.text())
    elif result.passed:
        console.document(result.as_json())
    if result.note and not result.passed:
        console.note(f"note: {result.note}")
    if not result.passed:
        raise GateMissedError(result.as_json(), *result.problems)
