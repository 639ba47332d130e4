"""The entries of the row cache as readable text."""

from __future__ import annotations

from datetime import UTC, datetime

from vox_cli.report_text import aligned, bytes_text
from vox_populi.data.row_cache.cache_listing import CacheEntry
from vox_populi.operator_messages.wording import clipped
from vox_populi.pipeline.row_cache import CacheReport

_MOST_FILES = 3


def cache_text(report: CacheReport) -> str:
    """A line per entry between the folder and the sum."""
    count = len(report.entries)
    noun = "entry" if count == 1 else "entries"
    words = "removed" if report.removed else "in all"
    rows = [
        ("folder", report.folder),
        *((_day(entry), _entry(entry)) for entry in report.entries),
        (words, f"{count:,} {noun}, {bytes_text(report.n_bytes)}"),
    ]
    return aligned(rows)


def _day(entry: CacheEntry) -> str:
    """The day on which it was last used."""
    return datetime.fromtimestamp(entry.used_at, UTC).date().isoformat()


def _entry(entry: CacheEntry) -> str:
    rows = "damaged" if entry.rows is None else f"{entry.rows:,} rows"
    more = len(entry.files) - _MOST_FILES
    names = ", ".join(entry.files[:_MOST_FILES]) + (f" and {more} more" if more > 0 else "")
    return f"{bytes_text(entry.n_bytes)}, {rows}" + (f" of {clipped(names)}" if names else "")
