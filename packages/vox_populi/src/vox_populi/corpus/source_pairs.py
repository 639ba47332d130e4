"""Rows made from a source of any kind, and counts of what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vox_populi.corpus.row_sides import LeftOut, SpooledRows
from vox_populi.corpus.source_places import notes_of_rules


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """Counts of one build."""

    counts: Mapping[str, int]
    """Parts of the source by kind, such as `files` and `sections`."""
    unreadable: tuple[str, ...] = ()
    """Files that are not UTF-8 text, too large, or cannot be opened."""
    archived: int = 0
    """Files of archives, which were not read."""
    golden_rows: int = 0
    """Rows of golden examples, on both sides."""
    train_rows: int = 0
    heldout_rows: int = 0
    left_out: Mapping[LeftOut, int] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out by a rule, for the operator."""
        return notes_of_rules(self.archived, self.left_out.get(LeftOut.LEGACY, 0))

    def as_json(self) -> dict[str, object]:
        """The fields that `--json` prints."""
        return {
            **self.counts,
            "unreadable": list(self.unreadable),
            "archived": self.archived,
            "golden_rows": self.golden_rows,
            "train_rows": self.train_rows,
            "heldout_rows": self.heldout_rows,
            "dropped": {reason.value: count for reason, count in self.left_out.items()},
        }


@dataclass(frozen=True, slots=True)
class SourcePairs:
    """Rows of both sides."""

    train: SpooledRows
    heldout: SpooledRows
    report: SourceReport
