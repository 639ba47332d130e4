"""`vox mens compare`: runs beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.runs_text import compare_text
from vox_cli.terminal import STDOUT
from vox_populi.pipeline.compare import compare as compare_runs


def compare(
    console: Console,
    runs: Annotated[list[Path], flags.path_argument("Run folders.", "RUN...")],
) -> None:
    """Compare runs: results, settings that differ, and which inputs are the same."""
    report = compare_runs(runs)
    room = STDOUT.columns() if STDOUT.is_terminal() else None
    console.report(report, lambda shown: compare_text(shown, room))
    console.notes(report.notes)
