"""Writing the two sides of a built corpus as the files of a data folder."""

from __future__ import annotations

from collections.abc import Collection
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from vox_populi.data.folder_rows import TRAIN_FILE, VALID_FILE
from vox_populi.errors import DataError
from vox_populi.files.made_folders import made_folder
from vox_populi.operator_messages import data as say
from vox_tensor.jsonl import JsonLine, scan_jsonl, write_jsonl

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

    Each file is written atomically.

    Args:
        pairs: The rows.
        out_dir: Created if missing.
        force: Replace files with different content; otherwise they are left alone.

    Raises:
        DataError: When a file with different content exists and `force` is off; nothing is written
            then.
        OSError: When the folder cannot be written.
    """
    sides = {TRAIN_FILE: pairs.train, VALID_FILE: pairs.heldout}
    paths = {out_dir / name: rows for name, rows in sides.items()}
    occupied = [path for path, rows in paths.items() if not force and _has_other(path, rows)]
    if occupied:
        raise DataError(*(say.corpus_file_occupied(str(path)) for path in occupied))
    with made_folder(out_dir):
        for path, rows in paths.items():
            if rows:
                write_jsonl(path, rows)
            else:
                # Held-out rows of an earlier build would pass for those of this one.
                path.unlink(missing_ok=True)
    return tuple(path for path, rows in paths.items() if rows)


def _has_other(path: Path, rows: Collection[PairRow]) -> bool:
    """Whether a file exists whose content is not these rows."""
    if not path.exists():
        return path.is_symlink()
    both = zip_longest(scan_jsonl(path), rows)
    return any(not isinstance(item, JsonLine) or item.value != row for item, row in both)
