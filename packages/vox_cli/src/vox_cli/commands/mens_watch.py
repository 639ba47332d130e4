"""`vox mens watch`: a run on the screen while it trains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.followed_run import show_events, show_screen
from vox_cli.terminal import STDOUT
from vox_populi.number_ranges import POLL_SECONDS, WAIT_SECONDS
from vox_populi.pipeline.follow import FollowTiming


def watch(
    console: Annotated[
        Console, "Print JSON lines on stdout, one per event; a problem at the end is one too."
    ],
    run: Annotated[Path, flags.path_argument("Run folder.", "RUN")],
    interval: Annotated[float, flags.real("Seconds between two looks.", POLL_SECONDS, 1)] = 1.0,
    restart_wait: Annotated[
        float, flags.real("Seconds that a killed run has to come back.", WAIT_SECONDS, 10)
    ] = 10.0,
) -> None:
    """Show a run while it trains: progress, losses, time left, last checkpoints.

    It continues when the run is resumed, ends with the run and exits with 0 if the run is complete,
    4 if it failed, 130 if it was stopped. Without a terminal, it prints a line per event.
    """
    timing = FollowTiming(interval_seconds=interval, restart_seconds=restart_wait)
    if console.as_json or not console.has_bar(STDOUT):
        show_events(console, run, timing)
    else:
        show_screen(run, timing)
