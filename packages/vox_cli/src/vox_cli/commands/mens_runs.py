"""`vox mens runs`: the runs of a folder, sorted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.runs_text import runs_text
from vox_cli.terminal import STDOUT
from vox_populi.pipeline.list_runs import RunOrder, list_runs


def runs(
    console: Console,
    folder: Annotated[Path, flags.path_argument("Folder with run folders.", "DIR")],
    sort: Annotated[
        RunOrder, flags.choice("What to sort by, best or newest first.", RunOrder, "heldout")
    ] = RunOrder.HELDOUT,
) -> None:
    """List the runs in a folder with their losses, steps, tokens and dates.

    A damaged run folder is listed with its problem. Where held-out losses are of different rows,
    the column `rows` says which may be compared.
    """
    room = STDOUT.columns() if STDOUT.is_terminal() else None
    console.report(list_runs(folder, sort), lambda listed: runs_text(listed, room))
