"""`vox mens cache list`: the encoded rows that are kept on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.cache_text import cache_text
from vox_cli.console import Console
from vox_populi.pipeline.row_cache import CacheRequest, list_row_cache


def list(
    console: Console,
    row_cache_dir: Annotated[
        Path | None,
        flags.path("Folder of the row cache.", "DIR", "vox-mens in the user's cache folder"),
    ] = None,
) -> None:
    """List the data whose rows are kept as token ids: size, last use, rows and files.

    Training, preview and eval keep the rows of data of 4 MiB or more, so that the next start is
    quick. Everything can be removed at any time.
    """
    console.report(list_row_cache(CacheRequest(folder=row_cache_dir)), cache_text)
