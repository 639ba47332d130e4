"""`vox mens corpus convert`: rows of any layout in one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags, value_parsers
from vox_cli.console import Console
from vox_cli.report_text import aligned, counts_text
from vox_populi.corpus.convert import ConvertReport, ConvertRequest, convert_rows
from vox_populi.corpus.row_layouts import RowTarget
from vox_populi.data.dataset import OnBadRow


def convert(
    console: Console,
    files: Annotated[list[Path], flags.path_argument("Files of rows.", "FILE...")],
    to: Annotated[RowTarget, flags.choice("Layout to write.", RowTarget)],
    output: Annotated[
        Path, flags.value("Output file.", value_parsers.path, "FILE", names=("--output", "-o"))
    ],
    on_bad_row: Annotated[
        OnBadRow,
        flags.choice(
            "What to do with a row that cannot be used or held by the layout.", OnBadRow, "error"
        ),
    ] = OnBadRow.ERROR,
    force: Annotated[
        bool, flags.switch("Replace an existing output with different content.", "--force")
    ] = False,
) -> None:
    """Write the rows of files in one layout, with their metadata.

    Every row is read again and must say the same; what a layout cannot hold is a bad row.
    """
    report = convert_rows(
        ConvertRequest(
            files=tuple(files), target=to, output=output, on_bad_row=on_bad_row, force=force
        )
    )
    console.notes(report.notes)
    console.report(report, convert_text)


def convert_text(report: ConvertReport) -> str:
    """A report of the rows that were written and left out."""
    skipped = f"{report.skipped:,}{counts_text(report.skipped_by_code)}"
    return aligned(
        [
            ("rows", f"{report.rows:,}{counts_text(report.layouts)}"),
            ("left out", skipped if report.skipped else None),
            ("layout", report.target),
            ("output", report.output),
        ]
    )
