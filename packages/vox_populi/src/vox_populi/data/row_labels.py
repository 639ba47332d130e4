"""The labels of a row: rating, category, lane, source.

None of them can make a row unusable. A meaningful value is used, whatever its type; other values
are ignored and counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

LEAST_RATING, MOST_RATING = 1, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RowLabels:
    """The labels of one row."""

    rating: float | None = None
    category: str | None = None
    lane: str | None = None
    source: str | None = None
    ignored: tuple[str, ...] = ()
    """Keys with an unusable value."""


def row_labels(row: Mapping[str, object]) -> RowLabels:
    """Read the labels of a row."""
    if _LABEL_KEYS.isdisjoint(row):
        return _NONE
    rating = _rating(row.get("rating"))
    texts = {key: label_text(row.get(key)) for key in ("category", "lane", "source")}
    found: dict[str, object] = {"rating": rating, **texts}
    ignored = tuple(key for key, value in found.items() if value is None and _says(row.get(key)))
    return RowLabels(rating=rating, ignored=ignored, **texts)


_LABEL_KEYS = frozenset(("rating", "category", "lane", "source"))
_NONE = RowLabels()


def label_text(value: object) -> str | None:
    """A label as text: a string, a number, or a list of these with commas between."""
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list):
        parts = [label_text(each) for each in value]
        if parts and all(parts):
            return ", ".join(part for part in parts if part)
    return None


def _rating(value: object) -> float | None:
    """A number from 1 to 5, also as text or with a fraction."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(number) or not LEAST_RATING <= number <= MOST_RATING:
        return None
    return int(number) if number.is_integer() else number


def _says(value: object) -> bool:
    """Whether a key has a value; blank text and an empty list do not count."""
    return value is not None and value != [] and not (isinstance(value, str) and not value.strip())
