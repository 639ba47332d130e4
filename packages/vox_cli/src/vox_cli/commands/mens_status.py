"""`vox mens status`: the progress of a run, read from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.report_text import status_text
from vox_populi.pipeline.status import run_status


def status(
    console: Console,
    run: Annotated[Path, flags.path_argument("Run folder.", "RUN")],
) -> None:
    """Show a run's progress, its losses and the files it wrote."""
    report = run_status(run)
    console.report(report, status_text)
