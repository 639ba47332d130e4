"""`vox mens lint`: whether other programs can load an adapter or model folder, and why not."""

from __future__ import annotations

from vox_cli.console import Console
from vox_cli.report_text import aligned
from vox_populi.pipeline.lint import LintReport, LintRequest, lint_folder


def lint(console: Console, request: LintRequest) -> None:
    """Check for each consumer whether it can load a folder, reading only configs and headers.

    With --model, every name and shape of an adapter is compared with its base. Exits with code 3
    if a consumer would refuse the folder or load it incorrectly.
    """
    console.verdict(lint_folder(request), lint_text)


def lint_text(report: LintReport) -> str:
    """A verdict per consumer; problems are for the error handler to print."""
    rows: list[tuple[str, object]] = [("folder", report.folder), ("kind", report.kind)]
    for verdict in report.verdicts:
        count = len(verdict.problems)
        state = "loads" if verdict.loads else f"refuses ({count} problem{'s' * (count > 1)})"
        rows.append((verdict.consumer.value, state))
        rows.extend(("", note) for note in verdict.notes)
    return aligned(rows)
