"""How far log-probabilities of one model may be apart, by the number type of a server. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Rounding(StrEnum):
    """A row of the table."""

    F32 = "f32"
    HALF = "half"
    Q8 = "q8"
    Q4 = "q4"


@dataclass(frozen=True, slots=True)
class RoundingRow:
    """What two programs with one model may differ by, in log-probability of a chosen token."""

    mean: float
    largest: float
    why: str


ROUNDING_ROWS = {
    Rounding.F32: RoundingRow(2e-5, 3e-4, "the same numbers, summed in another order"),
    Rounding.HALF: RoundingRow(0.03, 0.3, "weights or keys in bfloat16 or float16"),
    Rounding.Q8: RoundingRow(0.06, 0.6, "weights in 8 bits (q8_0, int8, fp8)"),
    Rounding.Q4: RoundingRow(0.6, 6.0, "weights in 4 bits (q4_0, q4_K, AWQ, GPTQ)"),
}
"""Coarser with each row; decision 0036 has the measurements."""


def holds(row: Rounding, differences: Sequence[float]) -> bool:
    """Whether differences are within a row; none are."""
    limit = ROUNDING_ROWS[row]
    return not differences or (
        sum(differences) / len(differences) <= limit.mean and max(differences) <= limit.largest
    )


def row_of(differences: Sequence[float]) -> Rounding | None:
    """The finest row that holds."""
    return next((row for row in Rounding if holds(row, differences)), None)
