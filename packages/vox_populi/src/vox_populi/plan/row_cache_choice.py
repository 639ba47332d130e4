"""The choice of a folder for encoded rows, and of how many processes encode them."""

from __future__ import annotations

from pathlib import Path

from vox_populi.data.dataset import RowCache
from vox_populi.data.row_cache.cache_place import user_cache_folder
from vox_populi.data.row_cache.crew import worker_count
from vox_populi.plan.row_worker import MODULE


def choose_row_cache(
    folder: Path | None, threads: int | None, *, is_used: bool = True
) -> RowCache | None:
    """The row cache of a request; `None` if it uses none or the user has no folder for one.

    Args:
        folder: What was asked for; `None` for the user's cache folder.
        threads: What was asked for; `None` for every core.
        is_used: Whether the request uses one.
    """
    place = folder or user_cache_folder()
    if not is_used or place is None:
        return None
    return RowCache(folder=place, workers=worker_count(threads), module=MODULE)
