"""`vox ci mens-gate`: the rows of the acceptance runbook, run, judged and reported."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.console import ColorChoice, Console
from vox_cli.flags import ColorFlag, JsonFlag, QuietFlag, VerboseFlag
from vox_cli.gate_profiles import find_manifest, read_manifest
from vox_cli.gate_report import GateReport, judge, report_text, write_report
from vox_cli.gate_session import run_session
from vox_cli.reported_failure import ReportedFailureError
from vox_populi.errors import EnvironmentFailure
from vox_populi.operator_messages import environment as say_environment
from vox_populi.operator_messages import gate as say_gate
from vox_tensor.errors import FailureKind

DEFAULT_PROFILE = "m1m4"


class GateMissedError(ReportedFailureError):
    """A row of the gate did not pass (exit 6)."""

    kind = FailureKind.GATE_MISSED


def mens_gate(
    profile: Annotated[
        str, flags.text("Which rows to run.", "m1m4|training|ci_full", DEFAULT_PROFILE)
    ] = DEFAULT_PROFILE,
    report: Annotated[Path | None, flags.path("Also write the report to a file.", "FILE")] = None,
    manifest: Annotated[
        Path | None, flags.path("The rows, if not those of this workspace.", "FILE")
    ] = None,
    keep_going: Annotated[
        bool, flags.switch("Run every row, also behind a miss.", "--keep-going")
    ] = False,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    color: ColorFlag = ColorChoice.AUTO,
) -> None:
    """Run the rows of acceptance.toml that belong to a profile; a miss ends with exit code 6.

    A row misses when a test fails, when every test is skipped, and when a selector, a named test
    or a mark meets no test: a renamed test never passes for one that was run.
    """
    console = Console(as_json=json, quiet=quiet, verbose=verbose, color=color)
    if report is not None:
        _require_place(report)
    rows_file = read_manifest(find_manifest(Path.cwd()) if manifest is None else manifest)
    rows = rows_file.rows_of(profile)
    start = time.monotonic()
    session = run_session(rows_file, rows, console.note, keep_going=keep_going)
    result = judge(rows_file, profile, rows, session, time.monotonic() - start)
    if report is not None:
        write_report(result, report)
    _show(console, result)


def _require_place(path: Path) -> None:
    """Refuse a report that could not be written, before minutes are spent on it."""
    code = errno.EISDIR if path.is_dir() else 0 if path.parent.is_dir() else errno.ENOENT
    if code:
        error = OSError(code, os.strerror(code))
        raise EnvironmentFailure(say_environment.file_not_written(str(path), error))


def _show(console: Console, result: GateReport) -> None:
    if not console.as_json:
        console.result(report_text(result))
    elif result.passed:
        console.document(result.as_json())
    if result.n_not_run and not result.passed:
        console.note(f"note: {say_gate.note_gate_stopped(result.n_not_run)}")
    if not result.passed:
        raise GateMissedError(result.as_json(), *result.problems)
