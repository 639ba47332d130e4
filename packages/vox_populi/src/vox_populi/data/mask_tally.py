"""Counts of rows under one tokenizer and template, per source, in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vox_populi.data.row_mask import Finding, RowMask

MOST_SOURCES = 50
"""Labels that are counted apart. With more, labels tell rows apart and not sources, and the files
are counted instead."""


@dataclass(slots=True, kw_only=True)
class MaskCounts:
    """Counts of the rows of one source."""

    rows: int = 0
    """All rows, those that training refuses or leaves out included."""
    left_out: int = 0
    """Rows that the rating floor, the context filter or their control text leaves out."""
    refused: int = 0
    """Rows that cannot be read or laid out, or that learn nothing."""
    tokens: int = 0
    learned_tokens: int = 0
    findings: Counter[Finding] = field(default_factory=Counter)
    """Number of rows with each finding."""

    @property
    def learned_share(self) -> float:
        """Learned tokens among all tokens."""
        return self.learned_tokens / self.tokens if self.tokens else 0.0

    def share(self, count: int) -> float:
        """A count of rows as a share of those that are not left out."""
        rows = self.rows - self.left_out
        return count / rows if rows else 0.0

    def take(self, masks: Sequence[RowMask]) -> None:
        """Add the tokens and findings of a row, which some templates make several of."""
        for mask in masks:
            self.tokens += len(mask.row)
            self.learned_tokens += mask.n_learned
        self.findings.update(frozenset().union(*(mask.findings for mask in masks)))

    def as_json(self) -> dict[str, object]:
        """The counts and the learned share."""
        return {
            "rows": self.rows,
            "left_out": self.left_out,
            "refused": self.refused,
            "tokens": self.tokens,
            "learned_tokens": self.learned_tokens,
            "learned_share": round(self.learned_share, 6),
            **{finding.value: self.findings[finding] for finding in Finding},
        }


class MaskTally:
    """Counts while rows are read."""

    def __init__(self) -> None:
        self.total = MaskCounts()
        self._by_file: dict[str, MaskCounts] = {}
        self._by_label: dict[str, MaskCounts] | None = {}

    def places(self, file: str, label: str | None) -> tuple[MaskCounts, ...]:
        """Everywhere that a row is counted.

        Args:
            file: Name of its file.
            label: Its source as the row has it.
        """
        places = [self.total, self._by_file.setdefault(file, MaskCounts())]
        if self._by_label is not None:
            places.append(self._by_label.setdefault(label or file, MaskCounts()))
            if len(self._by_label) > MOST_SOURCES:
                self._by_label = None
        return tuple(places)

    @property
    def sources(self) -> Mapping[str, MaskCounts]:
        """Counts by source, the largest first."""
        found = self._by_file if self._by_label is None else self._by_label
        return dict(sorted(found.items(), key=lambda each: (-each[1].rows, each[0])))
