"""Counting a corpus: rows by layout and label, lengths in turns, characters and tokens.

One pass over each file; memory does not grow with the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vox_populi.corpus.length_counts import LabelCounts, LengthCounts
from vox_populi.corpus.row_scan import RowScan, ScannedRow
from vox_populi.data.row_formats import RowShape, row_shape
from vox_populi.data.row_texts import row_sizes
from vox_populi.errors import DataError
from vox_populi.files.json_report import JsonReport
from vox_populi.operator_messages import corpus_files as say
from vox_tensor.records import TrainingRecord

UNLABELLED = "(none)"
TokenCounter = Callable[[TrainingRecord, str], int]
"""Number of tokens of a row as it is trained; the text names its file.

It raises `DataError` for a row that cannot be encoded.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStats(JsonReport):
    """One file of a corpus."""

    path: Path
    rows: int
    bad_rows: int
    problems_by_code: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsReport:
    """Counts of one or several files together."""

    files: tuple[FileStats, ...]
    labels: Mapping[str, Mapping[str, int]]
    """Usable rows by layout, source, category, lane and rating."""
    lengths: Mapping[str, LengthCounts]
    """Lengths of a row in turns, characters and, with a base, tokens."""
    base: str | None = None
    """The base whose tokenizer counted."""

    @property
    def rows(self) -> int:
        """Usable rows of all files."""
        return sum(file.rows for file in self.files)

    @property
    def notes(self) -> tuple[str, ...]:
        """One note for each file with bad rows."""
        bad = [file for file in self.files if file.bad_rows]
        return tuple(say.note_bad_rows_uncounted(str(each.path), each.bad_rows) for each in bad)

    def as_json(self) -> dict[str, object]:
        """The fields that `--json` prints."""
        return {
            "files": [file.as_json() for file in self.files],
            "rows": self.rows,
            "bad_rows": sum(file.bad_rows for file in self.files),
            "labels": {name: dict(counts) for name, counts in self.labels.items()},
            "lengths": {name: counts.as_json() for name, counts in self.lengths.items()},
            "base": self.base,
            "notes": list(self.notes),
        }


def corpus_stats(
    files: Sequence[Path], count_tokens: TokenCounter | None = None, base: str | None = None
) -> StatsReport:
    """Count the rows of files, which are never modified.

    Args:
        files: Files of rows.
        count_tokens: Counts the tokens of a row; `None` to count none.
        base: Name of the base that it belongs to.

    Raises:
        DataError: When a file cannot be read. Bad rows are counted and not raised.
    """
    counts = _Counts(count_tokens)
    each = tuple(counts.of_file(path) for path in files)
    return StatsReport(
        files=each,
        labels={name: labels.ranked() for name, labels in counts.labels.items()},
        lengths=counts.lengths,
        base=base,
    )


@dataclass(slots=True)
class _Counts:
    """Counts of all files together."""

    count_tokens: TokenCounter | None
    labels: dict[str, LabelCounts] = field(default_factory=dict)
    lengths: dict[str, LengthCounts] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("layout", "source", "category", "lane", "rating"):
            self.labels[name] = LabelCounts()
        for name in ("turns", "characters", "prompt_characters", "answer_characters"):
            self.lengths[name] = LengthCounts()
        if self.count_tokens is not None:
            self.lengths["tokens"] = LengthCounts()

    def of_file(self, path: Path) -> FileStats:
        """Count the rows of one file."""
        scan, rows, unencodable = RowScan(path), 0, 0
        for row in scan.rows():
            try:
                self._add(row, scan.where)
            except DataError as error:
                unencodable += 1
                scan.log.add(error.problems)
                continue
            rows += 1
        return FileStats(
            path=path,
            rows=rows,
            bad_rows=scan.n_bad + unencodable,
            problems_by_code=dict(sorted(scan.log.by_code.items())),
        )

    def _add(self, row: ScannedRow, where: str) -> None:
        record = row.record
        if self.count_tokens is not None:
            self.lengths["tokens"].add(self.count_tokens(record, where))
        found = {
            "layout": (row_shape(row.value) or RowShape.PROMPT_RESPONSE).value,
            "source": record.source,
            "category": record.category,
            "lane": record.lane,
            "rating": None if record.rating is None else f"{record.rating:g}",
        }
        for name, label in found.items():
            self.labels[name].add(UNLABELLED if label is None else label)
        sizes = row_sizes(record)
        self.lengths["turns"].add(len(record.messages))
        self.lengths["characters"].add(sizes.everything)
        self.lengths["prompt_characters"].add(sizes.everything - sizes.answers)
        self.lengths["answer_characters"].add(sizes.answers)
