"""`vox mens scorecard verify`: whether suites and cycles are what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.scorecard_text import verify_text
from vox_cli.task_file_reader import read_suite
from vox_populi.pipeline import scorecard


def verify(
    console: Console,
    cycles: Annotated[
        list[Path], flags.path_argument("Folders of cycles, or their cycle.json.", "CYCLE...")
    ],
    suite: Annotated[
        Path | None, flags.path("YAML file of the suite they must be about.", "FILE")
    ] = None,
) -> None:
    """Check cycles: form, digest, and every KPI computed again from its events."""
    given = None if suite is None else read_suite(suite)
    console.report(scorecard.verify(given, tuple(cycles)), verify_text)
