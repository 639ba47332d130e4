"""`vox mens status`: the progress of a run, read from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.console import ColorChoice, Console
from vox_cli.flags import ColorFlag, JsonFlag, QuietFlag, VerboseFlag
from vox_cli.report_text import status_text
from vox_populi.pipeline.status import run_status


def status(
    run: Annotated[Path, flags.path_argument("Run folder.", "RUN")],
    json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    color: ColorFlag = ColorChoice.AUTO,
) -> None:
    """Show a run's progress, its losses and the files it wrote."""
    console = Console(as_json=json, quiet=quiet, verbose=verbose, color=color)
    report = run_status(run)
    if json:
        console.document(report.as_json())
    else:
        console.result(status_text(report))
