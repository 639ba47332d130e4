"""`vox mens corpus validate`: whether every row of a file can be trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.console import ColorChoice, Console
from vox_cli.flags import ColorFlag, JsonFlag, QuietFlag, VerboseFlag
from vox_cli.report_text import aligned, counts_text
from vox_cli.reported_failure import ReportedFailureError
from vox_populi.corpus.validate import ValidationReport, validate_corpus


def validate(
    file: Annotated[Path, flags.path_argument("JSONL file of rows.", "FILE")],
    output: Annotated[
        Path | None, flags.path("Write the rows that pass to another file.", "FILE")
    ] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    color: ColorFlag = ColorChoice.AUTO,
) -> None:
    """Check and count the rows of a file, which is never modified.

    Exits with code 3 if a row cannot be trained on.
    """
    console = Console(as_json=json, quiet=quiet, verbose=verbose, color=color)
    report = validate_corpus(file, output)
    if not json:
        console.result(validation_text(report))
    elif report.ok:
        console.document(report.as_json())
    if not report.ok:
        raise ReportedFailureError(report.as_json(), *report.problems)


def validation_text(report: ValidationReport) -> str:
    """The counts; problems are for the error handler to print."""
    return aligned(
        [
            ("file", report.path),
            ("rows", f"{report.rows:,}"),
            ("accepted", f"{report.accepted:,}"),
            ("rejected", f"{report.rejected:,}{counts_text(report.problems_by_code)}"),
            ("formats", counts_text(report.shapes).strip(" ()") or None),
            ("ratings", counts_text(report.ratings).strip(" ()") or None),
            ("labels ignored", counts_text(report.ignored_labels).strip(" ()") or None),
            ("written to", report.output),
        ]
    )
