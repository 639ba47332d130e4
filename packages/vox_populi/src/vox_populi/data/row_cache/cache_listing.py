"""What the row cache holds, and removing it. Reads records only, no rows."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vox_populi.data.row_cache.cache_place import entries, entry_bytes, tidy
from vox_populi.data.row_cache.entry import RECORD
from vox_populi.data.row_cache.entry_name import ENTRY_PREFIX
from vox_populi.errors import EnvironmentFailure, ModelError
from vox_populi.files.removal import remove_entry
from vox_populi.files.strict_json import read_json_object
from vox_populi.operator_messages import row_cache as say
from vox_tensor.errors import cause

_NAME = re.compile(rf"{ENTRY_PREFIX}[0-9a-f]{{32}}")
_MOST_RECORD_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """The encoded rows of one data set under one request."""

    path: Path
    n_bytes: int
    used_at: float
    """When it was last used, in seconds since 1970."""
    rows: int | None
    """`None` if its record cannot be read; then it is encoded again."""
    files: tuple[str, ...]
    """The data files, as they were called when it was written."""

    def as_json(self) -> dict[str, object]:
        """One entry of `entries`."""
        return {
            "name": self.path.name,
            "bytes": self.n_bytes,
            "used_at": round(self.used_at),
            "rows": self.rows,
            "files": list(self.files),
        }


def cache_entries(folder: Path) -> Iterator[CacheEntry]:
    """The entries of a cache, the most recently used ones first."""
    for path in filter(_is_named_as_entry, entries(folder)):
        try:
            used_at = path.lstat().st_mtime
        except OSError:
            continue  # Another process removed it.
        rows, files = _record(path)
        yield CacheEntry(
            path=path, n_bytes=entry_bytes(path), used_at=used_at, rows=rows, files=files
        )


def clear_cache(folder: Path, unused_days: float = 0.0) -> tuple[CacheEntry, ...]:
    """Remove entries, and what killed processes left; return what was removed.

    A process that reads a removed entry keeps it until it ends.

    Args:
        folder: The cache.
        unused_days: Keep what was used within so many days.

    Raises:
        EnvironmentFailure: When the system refuses, with the first entry that stays.
    """
    tidy(folder)
    before = time.time() - unused_days * 86_400
    removed = []
    for entry in cache_entries(folder):
        if unused_days and entry.used_at > before:
            continue
        try:
            remove_entry(entry.path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise EnvironmentFailure(
                say.entry_not_removed(cause(error)).at(str(entry.path))
            ) from error
        removed.append(entry)
    return tuple(removed)


def _is_named_as_entry(path: Path) -> bool:
    """Whether a folder has a name of ours; the folder of a cache may be anybody's."""
    return _NAME.fullmatch(path.name) is not None


def _record(path: Path) -> tuple[int | None, tuple[str, ...]]:
    with suppress(ModelError, OSError, TypeError, ValueError):
        raw = read_json_object(path / RECORD, _MOST_RECORD_BYTES)
        rows, names = raw.get("rows"), raw.get("names")
        if isinstance(rows, int) and isinstance(names, list):
            return rows, tuple(map(str, names))
    return None, ()
