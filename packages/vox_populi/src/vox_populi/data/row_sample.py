"""Some rows of a corpus to look at: from every source, and of everything that was found."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from vox_populi.data.row_mask import Finding, RowMask

_STREAM = 0x5A3B1E
"""The sample is the same for the same rows."""


@dataclass(frozen=True, slots=True)
class SampledRow:
    """A row and where it comes from."""

    place: str
    source: str
    mask: RowMask


@dataclass(slots=True)
class RowSample:
    """Keeps the first rows with each finding, and rows of all kinds by chance.

    Args:
        most: Rows kept by chance.
        most_a_finding: Rows kept of each finding.
    """

    most: int = 150
    most_a_finding: int = 20
    seen: int = 0
    _by_chance: list[tuple[int, SampledRow]] = field(default_factory=list)
    _found: dict[Finding, list[tuple[int, SampledRow]]] = field(default_factory=dict)
    _random: random.Random = field(default_factory=lambda: random.Random(_STREAM))

    def offer(self, row: SampledRow) -> None:
        """Keep a row, or not (Vitter 1985, algorithm R)."""
        entry = (self.seen, row)
        self.seen += 1
        for finding in row.mask.findings:
            kept = self._found.setdefault(finding, [])
            if len(kept) < self.most_a_finding:
                kept.append(entry)
        if len(self._by_chance) < self.most:
            self._by_chance.append(entry)
            return
        place = int(self._random.random() * self.seen)
        if place < self.most:
            self._by_chance[place] = entry

    @property
    def by_chance(self) -> Sequence[SampledRow]:
        """The rows kept by chance alone, in the order of the file."""
        return [row for _, row in sorted(self._by_chance, key=lambda entry: entry[0])]

    @property
    def rows(self) -> Sequence[SampledRow]:
        """The rows in the order of the file."""
        kept = dict(self._by_chance)
        for entries in self._found.values():
            kept.update(entries)
        return [row for _, row in sorted(kept.items())]
