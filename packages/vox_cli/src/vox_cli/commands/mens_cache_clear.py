"""`vox mens cache clear`: remove the encoded rows that are kept on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.cache_text import cache_text
from vox_cli.console import Console
from vox_populi.number_ranges import DAYS
from vox_populi.pipeline.row_cache import CacheRequest, clear_row_cache


def clear(
    console: Console,
    row_cache_dir: Annotated[
        Path | None,
        flags.path("Folder of the row cache.", "DIR", "vox-mens in the user's cache folder"),
    ] = None,
    unused_days: Annotated[
        float, flags.real("Keep what was used within so many days.", DAYS, 0)
    ] = 0.0,
) -> None:
    """Remove rows that are kept as token ids; the next run encodes them again.

    A run that reads them continues. Data, runs and adapters are not touched.
    """
    request = CacheRequest(folder=row_cache_dir, unused_days=unused_days)
    console.report(clear_row_cache(request), cache_text)
