"""Numbers for JSON reports."""

from __future__ import annotations

import math

JsonObject = dict[str, object]


def perplexity_of(loss: float) -> float | None:
    """`exp(loss)`, or `None` if that is not finite."""
    try:
        value = math.exp(loss)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def finite_or_none(value: float | None) -> float | None:
    """A number that JSON can represent: NaN and infinities become `null`."""
    return value if value is not None and math.isfinite(value) else None
