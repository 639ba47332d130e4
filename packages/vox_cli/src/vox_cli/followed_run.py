"""Showing a run while it is followed: a line per event, or a screen that is drawn again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vox_cli.console import Console
from vox_cli.terminal import STDOUT
from vox_cli.watch_view import WatchedRun, watch_lines
from vox_populi.pipeline.event_lines import event_lines
from vox_populi.pipeline.follow import FollowTiming, Look, follow_run, raise_outcome
from vox_tensor.visible_text import one_line

_FREE_COLUMNS = 1
"""A terminal wraps when its last column is written."""
_FREE_ROWS = 1


def show_events(console: Console, run: Path, timing: FollowTiming) -> None:
    """Print a line for each event from now on, and the last one before.

    Raises:
        RunFailedError: When the run failed, was stopped or vanished.
        ArtifactError: When the path is not a run folder.
    """
    _print_events(console, run, follow_run(run, timing))


def show_screen(run: Path, timing: FollowTiming) -> None:
    """Draw the run's state again and again until it ends; its last state stays.

    Raises:
        RunFailedError: As `show_events`.
        ArtifactError: As `show_events`.
    """
    watched, above, look = WatchedRun(run.resolve().name), 0, None
    for look in follow_run(run, timing):
        watched.add(look)
        columns = STDOUT.columns() - _FREE_COLUMNS
        lines = watch_lines(watched, look, columns, has_unicode=STDOUT.has_unicode)
        lines = lines[: max(STDOUT.rows() - _FREE_ROWS, 1)]
        STDOUT.repainted(lines, above)
        above = len(lines)
    assert look is not None, "there is at least one look"
    raise_outcome(run, look)


def _print_events(console: Console, run: Path, looks: Iterable[Look]) -> None:
    look, is_first = None, True
    for look in looks:
        # What happened before is for `vox mens status`; its end says where the run is.
        new = look.new[-1:] if is_first else look.new
        is_first = False
        if console.as_json:
            for line in new:
                fields = {"ts_ms": line.ts_ms, "event": line.event, "payload": line.payload}
                console.json_line(fields)
        else:
            for text in event_lines(new):
                console.result(one_line(text))
    assert look is not None, "there is at least one look"
    raise_outcome(run, look)
