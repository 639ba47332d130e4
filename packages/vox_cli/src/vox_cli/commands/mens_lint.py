"""`vox mens lint`: whether other programs can load an adapter or model folder, and why not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags, value_parsers
from vox_cli.console import Console
from vox_cli.report_text import aligned
from vox_populi.export.consumers import Consumer
from vox_populi.pipeline.lint import LintReport, LintRequest, lint_folder


def _consumers(text: str) -> tuple[Consumer, ...]:
    """Comma-separated names, without duplicates."""
    parse = value_parsers.one_of(Consumer)
    return tuple(dict.fromkeys(parse(word) for word in text.split(",")))


def lint(
    console: Console,
    folder: Annotated[Path, flags.path_argument("Adapter or model folder.", "DIR")],
    consumers: Annotated[
        object,
        flags.value(
            "Programs that should load it, comma-separated.",
            _consumers,
            ",".join(Consumer),
            "all of them",
            ("--for",),
        ),
    ] = None,
    model: Annotated[
        Path | None, flags.path("Base of an adapter folder, to compare it with.", "DIR")
    ] = None,
) -> None:
    """Check for each consumer whether it can load a folder, reading only configs and headers.

    With --model, every name and shape of an adapter is compared with its base. Exits with code 3
    if a consumer would refuse the folder or load it incorrectly.
    """
    asked = consumers if isinstance(consumers, tuple) else tuple(Consumer)
    report = lint_folder(LintRequest(folder=folder, consumers=asked, model_dir=model))
    console.verdict(report, lint_text)


def lint_text(report: LintReport) -> str:
    """A verdict per consumer; problems are for the error handler to print."""
    rows: list[tuple[str, object]] = [("folder", report.folder), ("kind", report.kind)]
    for verdict in report.verdicts:
        count = len(verdict.problems)
        state = "loads" if verdict.loads else f"refuses ({count} problem{'s' * (count > 1)})"
        rows.append((verdict.consumer.value, state))
        rows.extend(("", note) for note in verdict.notes)
    return aligned(rows)
