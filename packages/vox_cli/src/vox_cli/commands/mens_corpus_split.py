"""`vox mens corpus split`: training, validation and test rows without leakage."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from vox_cli import flags, value_parsers
from vox_cli.console import Console
from vox_cli.report_text import aligned
from vox_populi.corpus.split import (
    DEFAULT_SEED,
    SideReport,
    SplitRatio,
    SplitReport,
    SplitRequest,
    split_corpus,
)
from vox_populi.data.dataset import OnBadRow
from vox_populi.number_ranges import SEED, SHARE_PART


def split(
    console: Console,
    file: Annotated[Path, flags.path_argument("File of rows.", "FILE")],
    train: Annotated[Path, flags.path("Output file of training rows.", "FILE")],
    valid: Annotated[Path, flags.path("Output file of validation rows.", "FILE")],
    test: Annotated[Path | None, flags.path("Output file of test rows.", "FILE")] = None,
    ratio: Annotated[
        SplitRatio | None,
        flags.value(
            "Shares of the outputs, in any unit.",
            split_ratio,
            "N,N[,N]",
            "9,1 or 8,1,1",
        ),
    ] = None,
    group_by: Annotated[
        str | None, flags.text("Keep rows with the same value of this key together.", "KEY")
    ] = None,
    stratify_by: Annotated[
        str | None, flags.text("Meet the shares for each value of this key.", "KEY")
    ] = None,
    seed: Annotated[int, flags.whole("Seed.", SEED, default=DEFAULT_SEED)] = DEFAULT_SEED,
    on_bad_row: Annotated[
        OnBadRow, flags.choice("What to do with a row that cannot be used.", OnBadRow, "error")
    ] = OnBadRow.ERROR,
    force: Annotated[
        bool, flags.switch("Replace existing outputs with different content.", "--force")
    ] = False,
) -> None:
    """Divide a file of rows without leakage between the sides.

    Rows with the same prompt, or the same value of --group-by, are always on one side. A group's
    side depends on its value and the seed: without --stratify-by, adding other rows never moves it.
    """
    report = split_corpus(
        SplitRequest(
            file=file,
            train=train,
            valid=valid,
            test=test,
            ratio=ratio,
            group_by=group_by,
            stratify_by=stratify_by,
            seed=seed,
            on_bad_row=on_bad_row,
            force=force,
        )
    )
    console.notes(report.notes)
    console.report(report, split_text)


def split_ratio(text: str) -> SplitRatio:
    """Parse shares in any unit: `9,1`, `0.9:0.1` or `80/10/10`."""
    parse = value_parsers.number(SHARE_PART)
    return SplitRatio(tuple(parse(part.strip()) for part in re.split("[,:/]", text)))


def split_text(report: SplitReport) -> str:
    """A report of how many rows and groups are on each side."""
    return aligned(
        [
            ("file", report.file),
            ("rows", f"{report.rows:,}"),
            *((name, _side_text(side, report.rows)) for name, side in report.sides.items()),
        ]
    )


def _side_text(side: SideReport, n_rows: int) -> str:
    share = 100 * side.rows / n_rows
    return f"{side.path}: {side.rows:,} rows ({share:.1f} %) in {side.groups:,} groups"
