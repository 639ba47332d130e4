"""`vox mens report`: curves, results and settings of runs, as text, JSON or a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.report_page_text import report_text
from vox_cli.terminal import STDOUT
from vox_populi.pipeline.report import ReportRequest, report_runs


def report(
    console: Console,
    runs: Annotated[list[Path], flags.path_argument("Run folders.", "RUN...")],
    html: Annotated[Path | None, flags.path("Write a page with charts.", "FILE")] = None,
    force: Annotated[bool, flags.switch("Replace an existing page.", "--force")] = False,
) -> None:
    """Report runs: loss, held-out loss, speed, memory, settings, digests.

    The page is one file that loads nothing; several runs are laid over each other. It has answers
    to held-out prompts if the run was trained with --samples.
    """
    found = report_runs(ReportRequest(runs=tuple(runs), html=html, force=force))
    room = STDOUT.columns() if STDOUT.is_terminal() else None
    console.report(found, lambda each: report_text(each, room, has_unicode=STDOUT.has_unicode))
    console.notes(found.notes)
