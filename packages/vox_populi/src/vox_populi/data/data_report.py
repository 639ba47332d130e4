"""Counts of the rows of a file: dropped rows by reason, tokens and lengths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from vox_tensor.errors import Problem

PERCENTILES = (50, 90, 99)


class DropReason(StrEnum):
    """Why a row is not trained on."""

    # Counted for every row that is left out; an enum member's own hash is computed in Python.
    __hash__ = str.__hash__

    BAD_ROW = "bad_row"
    """It cannot be read, or does not have a known format (`--on-bad-row skip`)."""
    NOTHING_TO_LEARN = "nothing_to_learn"
    """No token of it is supervised (`--on-bad-row skip`)."""
    LOW_RATING = "low_rating"
    """Its rating is below the floor."""
    CONTEXT_FILTER = "context_filter"
    """Its category does not contain the filter."""
    TOO_LONG = "too_long"
    """It has more tokens than a sequence holds (`--on-long-row skip`)."""
    CONTROL_TEXT = "control_text"
    """Its text spells a control token (`--on-control-text skip`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReport:
    """Counts of one file. `rows` is `kept` plus everything dropped."""

    rows: int
    """Lines that are not blank."""
    kept: int
    dropped: Mapping[DropReason, int]
    """Every reason, even if no row had it."""
    truncated: int
    """Kept rows that were cut at the end."""
    tokens: int
    supervised_tokens: int
    shortest: int
    longest: int
    """Tokens of the longest kept row, after truncation."""
    length_percentiles: Mapping[int, int]
    """Tokens by percentile: that share of the kept rows is no longer than this."""
    ignored_labels: Mapping[str, int] = field(default_factory=dict)
    """Number of rows with an unusable value, by label key; these rows are kept."""
    control_rows: int = 0
    """Rows whose text spells a control token and became it (`--on-control-text keep`)."""
    trajectories: int = 0
    """Rows whose labels changed their weight (`TrajectoryRules`)."""
    graded: int = 0
    """Rows with a difficulty."""
    skipped: tuple[Problem, ...] = ()
    """Problems of the first skipped rows, and a count of the rest."""

    def as_json(self) -> dict[str, object]:
        """The fields for `--json` and the manifest, without row content."""
        return {
            "rows": self.rows,
            "kept": self.kept,
            "dropped": {reason.value: count for reason, count in self.dropped.items()},
            "truncated": self.truncated,
            **({"control_text_kept": self.control_rows} if self.control_rows else {}),
            "tokens": self.tokens,
            "supervised_tokens": self.supervised_tokens,
            "row_tokens": {
                "min": self.shortest,
                **{f"p{rank}": length for rank, length in self.length_percentiles.items()},
                "max": self.longest,
            },
            "skipped": [problem.as_json() for problem in self.skipped],
        }


@dataclass(slots=True)
class DataTally:
    """Counts while a file is read, in constant memory; other processes get its plain values."""

    dropped: Counter[DropReason] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    """Kept rows by their number of tokens."""
    truncated: int = 0
    supervised_tokens: int = 0
    ignored_labels: Counter[str] = field(default_factory=Counter)
    control_rows: int = 0
    trajectories: int = 0
    graded: int = 0

    @property
    def kept(self) -> int:
        """Rows counted with `keep`."""
        return self.lengths.total()

    def keep(self, n_tokens: int, n_supervised: int, *, truncated: bool) -> None:
        """Count a row that will be trained on."""
        self.lengths[n_tokens] += 1
        self.supervised_tokens += n_supervised
        self.truncated += truncated

    def drop(self, reason: DropReason) -> None:
        """Count a row that will not."""
        self.dropped[reason] += 1

    def add(self, other: DataTally) -> None:
        """Add the counts of another part of the file."""
        self.dropped.update(other.dropped)
        self.lengths.update(other.lengths)
        self.truncated += other.truncated
        self.supervised_tokens += other.supervised_tokens
        self.ignored_labels.update(other.ignored_labels)
        self.control_rows += other.control_rows
        self.trajectories += other.trajectories
        self.graded += other.graded

    def report(self, skipped: tuple[Problem, ...] = ()) -> DataReport:
        """The counts so far."""
        return DataReport(
            rows=self.kept + self.dropped.total(),
            kept=self.kept,
            dropped={reason: self.dropped[reason] for reason in DropReason},
            truncated=self.truncated,
            tokens=sum(length * count for length, count in self.lengths.items()),
            supervised_tokens=self.supervised_tokens,
            shortest=min(self.lengths, default=0),
            longest=max(self.lengths, default=0),
            length_percentiles={rank: self._percentile(rank) for rank in PERCENTILES},
            ignored_labels=dict(sorted(self.ignored_labels.items())),
            control_rows=self.control_rows,
            trajectories=self.trajectories,
            graded=self.graded,
            skipped=skipped,
        )

    def _percentile(self, rank: int) -> int:
        seen = 0
        for length in sorted(self.lengths):
            seen += self.lengths[length]
            if seen * 100 >= rank * self.kept:
                return length
        return 0
