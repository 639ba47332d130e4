"""Listing and clearing the row cache: request, reports and functions. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vox_populi.data.row_cache.cache_listing import CacheEntry, cache_entries, clear_cache
from vox_populi.data.row_cache.cache_place import user_cache_folder
from vox_populi.errors import ConfigError
from vox_populi.number_ranges import DAYS, require_ranges
from vox_populi.operator_messages import row_cache as say


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRequest:
    """A request about a row cache."""

    folder: Path | None = None
    """`None`: that of the user."""
    unused_days: float = 0.0
    """Entries that were used within so many days stay."""

    def __post_init__(self) -> None:
        require_ranges(("--unused-days", self.unused_days, DAYS))

    @property
    def place(self) -> Path:
        """The folder.

        Raises:
            ConfigError: For a user without a home.
        """
        place = self.folder or user_cache_folder()
        if place is None:
            raise ConfigError(say.NO_CACHE_FOLDER)
        return place


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheReport:
    """The entries of a row cache: all of them, or those that were removed."""

    folder: Path
    entries: tuple[CacheEntry, ...]
    removed: bool

    @property
    def n_bytes(self) -> int:
        """Size of all of them."""
        return sum(entry.n_bytes for entry in self.entries)

    def as_json(self) -> dict[str, object]:
        """The fields of `vox mens cache list --json` and `clear --json`."""
        return {
            "folder": str(self.folder),
            "removed": self.removed,
            "bytes": self.n_bytes,
            "entries": [entry.as_json() for entry in self.entries],
        }


def list_row_cache(request: CacheRequest) -> CacheReport:
    """What the cache holds; a folder that does not exist holds nothing."""
    found = tuple(cache_entries(request.place))
    return CacheReport(folder=request.place, entries=found, removed=False)


def clear_row_cache(request: CacheRequest) -> CacheReport:
    """Remove entries from the cache.

    Raises:
        EnvironmentFailure: When the system refuses to remove one.
    """
    found = clear_cache(request.place, request.unused_days)
    return CacheReport(folder=request.place, entries=found, removed=True)
