"""`vox mens models`: the model families that were tried."""

from __future__ import annotations

from vox_cli.console import Console
from vox_cli.models_text import models_text
from vox_cli.terminal import STDOUT
from vox_populi.pipeline.list_models import list_models


def list(
    console: Console,
) -> None:
    """List the model families: whose code computes them, how rows are computed, what was proven.

    Same as `vox mens models`. The page `families` of the reference says which test proves what.
    Works without torch.
    """
    room = STDOUT.columns() if STDOUT.is_terminal() else None
    console.report(list_models(), lambda report: models_text(report, room))
