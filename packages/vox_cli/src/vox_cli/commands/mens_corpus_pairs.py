"""`vox mens corpus pairs`: docstring-to-function rows from Python source."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.optional_values import OPTIONAL_VALUES
from vox_cli.report_text import aligned, counts_text
from vox_populi.corpus.pairs import PairOptions, PairsReport, build_pairs, write_pairs
from vox_populi.number_ranges import COUNT

STDLIB = Path(OPTIONAL_VALUES["--from-python"].implied)
"""The word for the running interpreter's standard library; `./stdlib` is a folder of that name."""


def pairs(
    console: Console,
    from_python: Annotated[
        Path,
        flags.path(
            "Folder of Python source; without DIR, this interpreter's standard library.", "[DIR]"
        ),
    ],
    output_dir: Annotated[Path, flags.path("Folder for train.jsonl and valid.jsonl.", "DIR")],
    max_rows: Annotated[int | None, flags.whole("Largest number of training rows.", COUNT)] = None,
    max_heldout_rows: Annotated[
        int | None, flags.whole("Largest number of held-out rows.", COUNT, default="as --max-rows")
    ] = None,
    force: Annotated[bool, flags.switch("Replace the files of another corpus.", "--force")] = False,
) -> None:
    """Write rows that ask for a function by its docstring and answer with its source.

    Modules are held out by a hash of their name, and no held-out function occurs in a training
    module. The same sources give the same bytes.
    """
    root = Path(sysconfig.get_paths()["stdlib"]) if from_python == STDLIB else from_python
    options = PairOptions(max_rows=max_rows, max_heldout_rows=max_heldout_rows or max_rows)
    result = build_pairs(root, options)
    paths = write_pairs(result, output_dir, force=force)
    if console.as_json:
        console.document({**result.report.as_json(), "paths": [str(path) for path in paths]})
    else:
        console.result(pairs_text(result.report, paths))


def pairs_text(report: PairsReport, paths: tuple[Path, ...]) -> str:
    """A report of what was found and where the rows are."""
    dropped = {reason.value: count for reason, count in report.rejected.items() if count}
    return aligned(
        [
            ("modules", f"{report.modules:,} ({report.heldout_modules:,} held out)"),
            ("functions", f"{report.functions:,}"),
            ("train rows", f"{report.train_rows:,}"),
            ("held-out rows", f"{report.heldout_rows:,}"),
            ("dropped", f"{sum(dropped.values()):,}{counts_text(dropped)}"),
            *(("file", path) for path in paths),
        ]
    )
