"""Rows made from a source of any kind, and counts of what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vox_populi.corpus.row_sides import LeftOut, SpooledRows
from vox_populi.corpus.source_places import notes_of_rules
from vox_populi.files.json_report import JsonReport, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport(JsonReport):
    """Counts of one build."""

    counts: Mapping[str, int] = field(metadata=shown(inline=True))
    """Parts of the source by kind, such as `files` and `sections`."""
    unreadable: tuple[str, ...] = ()
    """Files that are not UTF-8 text, too large, or cannot be opened."""
    archived: int = 0
    """Files of archives, which were not read."""
    golden_rows: int = 0
    """Rows of golden examples, on both sides."""
    train_rows: int = 0
    heldout_rows: int = 0
    left_out: Mapping[LeftOut, int] = field(default_factory=dict, metadata=shown("dropped"))

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out by a rule, for the operator."""
        return notes_of_rules(self.archived, self.left_out.get(LeftOut.LEGACY, 0))


@dataclass(frozen=True, slots=True)
class SourcePairs:
    """Rows of both sides."""

    train: SpooledRows
    heldout: SpooledRows
    report: SourceReport
