"""`vox mens corpus validate`: whether every row of files can be trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.report_text import aligned, counts_text
from vox_populi.corpus.validate import (
    FilesReport,
    ValidationReport,
    validate_corpus,
    validate_files,
)


def validate(
    console: Console,
    files: Annotated[list[Path], flags.path_argument("Files of rows in any format.", "FILE...")],
    output: Annotated[
        Path | None, flags.path("Write the rows that pass to another file.", "FILE")
    ] = None,
) -> None:
    """Check and count the rows of files, which are never modified.

    Exits with code 3 if a row cannot be trained on.
    """
    if len(files) == 1:
        console.verdict(validate_corpus(files[0], output), validation_text)
    else:
        console.verdict(validate_files(files, output), files_text)


def files_text(report: FilesReport) -> str:
    """A block per file, and the sum."""
    total = [
        ("rows in all", f"{report.rows:,}"),
        ("accepted", f"{report.accepted:,}"),
        ("rejected", f"{report.rows - report.accepted:,}"),
        ("written to", report.output),
    ]
    return "\n\n".join([*map(validation_text, report.files), aligned(total)])


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
