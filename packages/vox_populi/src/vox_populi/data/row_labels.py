"""The labels of a row: rating, difficulty, category, lane, source.

None of them can make a row unusable. A meaningful value is used, whatever its type; other values
are ignored and counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

LEAST_RATING, MOST_RATING = 1, 5
LEAST_DIFFICULTY, MOST_DIFFICULTY = 1, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RowLabels:
    """The labels of one row."""

    rating: float | None = None
    category: str | None = None
    lane: str | None = None
    source: str | None = None
    difficulty: float | None = None
    """1 (easy) to 10."""
    ignored: tuple[str, ...] = ()
    """Keys with an unusable value."""


def row_labels(row: Mapping[str, object]) -> RowLabels:
    """Read the labels of a row."""
    if _LABEL_KEYS.isdisjoint(row):
        return _NONE
    rating = _graded(row.get("rating"), LEAST_RATING, MOST_RATING)
    difficulty = _graded(row.get("difficulty"), LEAST_DIFFICULTY, MOST_DIFFICULTY)
    texts = {key: label_text(row.get(key)) for key in ("category", "lane", "source")}
    found: dict[str, object] = {"rating": rating, "difficulty": difficulty, **texts}
    ignored = tuple(key for key, value in found.items() if value is None and _says(row.get(key)))
    return RowLabels(rating=rating, difficulty=difficulty, ignored=ignored, **texts)


_LABEL_KEYS = frozenset(("rating", "difficulty", "category", "lane", "source"))
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


def _graded(value: object, least: int, most: int) -> float | None:
    """A number within bounds, also as text or with a fraction."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(number) or not least <= number <= most:
        return None
    return int(number) if number.is_integer() else number


def _says(value: object) -> bool:
    """Whether a key has a value; blank text and an empty list do not count."""
    return value is not None and value != [] and not (isinstance(value, str) and not value.strip())
