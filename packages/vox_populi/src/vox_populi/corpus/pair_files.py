"""Writing the two sides of a built corpus as the files of a data folder."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from vox_populi.corpus.row_outputs import row_outputs
from vox_populi.data.folder_rows import TRAIN_FILE, VALID_FILE
from vox_populi.errors import DataError
from vox_populi.operator_messages import data as say

PairRow: TypeAlias = dict[str, Any]
"""Keys `prompt`, `response`, `category`, `lane`, `source`; few rows also `golden` and `legacy`."""


class BuiltPairs(Protocol):
    """Rows of both sides, which can be read any number of times."""

    @property
    def train(self) -> Collection[PairRow]:
        """Training rows."""
        ...

    @property
    def heldout(self) -> Collection[PairRow]:
        """Held-out rows."""
        ...


def write_pairs(pairs: BuiltPairs, out_dir: Path, *, force: bool = False) -> tuple[Path, ...]:
    """Write `train.jsonl` and, when something is held out, `valid.jsonl`; return their paths.

    Both are complete before either replaces a file.

    Args:
        pairs: The rows.
        out_dir: Created if missing.
        force: Replace files with different content; otherwise they are left alone.

    Raises:
        DataError: When a file with different content exists and `force` is off; nothing is written
            then.
        OSError: When the folder cannot be written.
    """
    sides = {out_dir / TRAIN_FILE: pairs.train, out_dir / VALID_FILE: pairs.heldout}
    paths = tuple(path for path, rows in sides.items() if rows)
    # Held-out rows of an earlier build would pass for those of this one.
    stale = [path for path, rows in sides.items() if not rows and os.path.lexists(path)]
    occupied = [path for path in stale if not force and not _is_empty(path)]
    if occupied:
        raise DataError(*(say.CORPUS_FILE_OCCUPIED.at(str(path)) for path in occupied))
    with row_outputs(paths, force=force, occupied=say.CORPUS_FILE_OCCUPIED.at) as writers:
        for writer in writers:
            for row in sides[writer.path]:
                writer.write(row)
    for path in stale:
        path.unlink(missing_ok=True)
    return paths


def _is_empty(path: Path) -> bool:
    return path.is_file() and not path.stat().st_size
