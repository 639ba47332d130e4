"""Quantiles of lengths and counts of labels in bounded memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_EXACT_BITS = 10
"""Lengths of up to this many bits are counted exactly; longer ones to this many leading bits."""
OTHER_LABELS = "(others)"
_MAX_LABELS = 1000


@dataclass(slots=True)
class LengthCounts:
    """How often each length occurs: exact up to 1023, and within 0.2 % beyond.

    Number, sum, least and greatest are always exact.
    """

    count: int = 0
    total: int = 0
    least: int | None = None
    greatest: int | None = None
    buckets: dict[int, int] = field(default_factory=dict)
    """Number of lengths by their leading bits."""

    def add(self, length: int) -> None:
        """Count one length."""
        self.count += 1
        self.total += length
        self.least = length if self.least is None else min(self.least, length)
        self.greatest = length if self.greatest is None else max(self.greatest, length)
        dropped = max(0, length.bit_length() - _EXACT_BITS)
        bucket = length >> dropped << dropped
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1

    def quantiles(self) -> dict[str, int]:
        """The length that each share of the rows does not exceed, as `p50`."""
        found: dict[str, int] = {}
        passed, wanted = 0, [share for share in QUANTILES if self.count]
        for length in sorted(self.buckets):
            passed += self.buckets[length]
            while wanted and passed >= wanted[0] * self.count:
                found[f"p{100 * wanted.pop(0):g}"] = length
        return found

    def as_json(self) -> dict[str, object]:
        """Number, sum, mean, extremes and quantiles."""
        return {
            "count": self.count,
            "total": self.total,
            "mean": round(self.total / self.count, 2) if self.count else None,
            "min": self.least,
            **self.quantiles(),
            "max": self.greatest,
        }


@dataclass(slots=True)
class LabelCounts:
    """How often each label occurs; the first 1000 labels have counts of their own."""

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, label: str) -> None:
        """Count one label."""
        has_room = label in self.counts or len(self.counts) < _MAX_LABELS
        self.counts[label if has_room else OTHER_LABELS] += 1

    def ranked(self) -> dict[str, int]:
        """Counts by label, the most frequent first."""
        ranked = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return dict(ranked)
