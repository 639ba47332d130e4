"""`vox mens scorecard decide`: promote, hold, or not enough evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.scorecard_text import decision_text
from vox_populi.pipeline.scorecard import decide_cycles


def decide(
    console: Console,
    cycles: Annotated[
        list[Path], flags.path_argument("Folders of cycles, or their cycle.json.", "CYCLE...")
    ],
    output_dir: Annotated[
        Path | None, flags.path("New folder for the decision and its page.", "DIR")
    ] = None,
) -> None:
    """Decide whether the LoRA backend is promoted, by at least two cycles of one suite.

    Exits with code 6 unless the verdict is promote. A single cycle, different suites, a missing KPI
    or an edited file never promote.
    """
    report = decide_cycles(tuple(cycles), output_dir)
    console.gated(report, decision_text)
