"""`vox mens status`: the progress of a run, read from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.followed_run import show_events
from vox_cli.run_text import status_text
from vox_populi.pipeline.follow import FollowTiming
from vox_populi.pipeline.status import run_status


def status(
    console: Annotated[Console, "Print JSON on stdout, also on failure; JSON lines with --follow."],
    run: Annotated[Path, flags.path_argument("Run folder.", "RUN")],
    follow: Annotated[
        bool, flags.switch("Print a line per event from now on, until the run ends.", "--follow")
    ] = False,
) -> None:
    """Show a run's progress, its losses and the files it wrote."""
    if follow:
        show_events(console, run, FollowTiming())
        return
    report = run_status(run)
    console.report(report, status_text)
