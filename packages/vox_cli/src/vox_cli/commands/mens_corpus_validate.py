"""`vox mens corpus validate`: whether every row of a file can be trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.report_text import aligned, counts_text
from vox_populi.corpus.validate import ValidationReport, validate_corpus


def validate(
    console: Console,
    file: Annotated[Path, flags.path_argument("File of rows in any format.", "FILE")],
    output: Annotated[
        Path | None, flags.path("Write the rows that pass to another file.", "FILE")
    ] = None,
) -> None:
    """Check and count the rows of a file, which is never modified.

    Exits with code 3 if a row cannot be trained on.
    """
    report = validate_corpus(file, output)
    console.verdict(report, validation_text)


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
