"""The rows of a file as token ids: checked in one pass, then read on demand.

Memory per row is four small integers (offset, line, tokens, supervised tokens), so a file may be
larger than memory.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum

from vox_populi.data.data_report import DataReport, DataTally, DropReason
from vox_populi.data.row_files.row_file import FileRow, RowFile, is_about_file
from vox_populi.data.row_formats import parse_row
from vox_populi.data.row_reader import RowReader
from vox_populi.data.training_text import TextPolicy
from vox_populi.errors import DataError
from vox_populi.operator_messages import data as say
from vox_tensor.errors import Problem
from vox_tensor.problem_log import ProblemLog
from vox_tensor.records import EncodedRow, TrainingRecord
from vox_tensor.tokenizer import TextTokenizer


class OnBadRow(StrEnum):
    """What to do with a row that cannot be used."""

    ERROR = "error"
    """Stop, after reporting all of them."""
    SKIP = "skip"
    """Skip it, and count it."""


class OnLongRow(StrEnum):
    """What to do with a row that is longer than a sequence."""

    TRUNCATE = "truncate"
    """Keep its start."""
    SKIP = "skip"
    """Skip it, and count it."""
    ERROR = "error"
    """Stop, after reporting all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRules:
    """Which rows of a file are used, and what happens to unusable ones."""

    min_rating: int | None = None
    """Lowest accepted rating; unrated rows pass."""
    context_filter: str | None = None
    """Text that a row's category must contain, ignoring case. Rows without a category do not
    pass."""
    on_bad_row: OnBadRow = OnBadRow.ERROR
    on_long_row: OnLongRow = OnLongRow.TRUNCATE


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetOptions(RowRules):
    """The rules for rows, and how much of each row is used."""

    seq_len: int | None = None
    """Largest number of tokens per row; `None` for no limit."""
    ce_last_k: int | None = None
    """Learn only this many supervised tokens at the end of a row; `None` for all of them."""

    def __post_init__(self) -> None:
        for name, limit in (("seq_len", self.seq_len), ("ce_last_k", self.ce_last_k)):
            if limit is not None and limit < 1:
                message = f"{name} must be at least 1, got {limit}"
                raise ValueError(message)

    @classmethod
    def of(
        cls, rules: RowRules, *, seq_len: int | None, ce_last_k: int | None = None
    ) -> DatasetOptions:
        """Add the lengths of a run to its rules."""
        values = {each.name: getattr(rules, each.name) for each in fields(RowRules)}
        return cls(**values, seq_len=seq_len, ce_last_k=ce_last_k)


class RowDataset:
    """Encoded rows by index, in the order of the file or files.

    Created by `open_dataset`. The same index always gives the same ids; if the file changes, that
    is an error, not different rows.
    """

    def __init__(self, reader: RowReader, index: RowIndex, report: DataReport) -> None:
        self._reader = reader
        self._index = index
        self.report = report
        """Counts of the whole file, even for a selection of its rows."""

    def __len__(self) -> int:
        return len(self._index.lines)

    def __getitem__(self, row: int) -> EncodedRow:
        """Ids and labels of a row.

        Raises:
            IndexError: Past the last row.
            DataError: When the file changed since it was opened, or cannot be read any more.
        """
        return self._reader.encoded(self._index.lines[row])

    def __iter__(self) -> Iterator[EncodedRow]:
        return (self[row] for row in range(len(self)))

    def record(self, row: int) -> TrainingRecord:
        """Messages, category and source of a row.

        Raises:
            IndexError: Past the last row.
            DataError: As for indexing.
        """
        return self._reader.record(self._index.lines[row])

    def select(self, rows: Sequence[int]) -> RowDataset:
        """A selection of rows, in the given order; shares file and cache with this data set."""
        return RowDataset(self._reader, self._index.select(rows), self.report)

    @property
    def rows(self) -> RowFile:
        """The file or files; the `line` of an encoded row is an index of it."""
        return self._reader.rows

    @property
    def digest(self) -> str:
        """`sha256:` and the hash of the file's bytes."""
        return self._reader.rows.digest

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens of each row, after truncation."""
        return self._index.lengths

    @property
    def n_tokens(self) -> int:
        """Tokens of all rows."""
        return sum(self._index.lengths)

    @property
    def n_supervised(self) -> int:
        """Supervised tokens of all rows."""
        return sum(self._index.supervised)


@dataclass(frozen=True, slots=True)
class RowIndex:
    """Line, tokens and supervised tokens of each row."""

    lines: array[int]
    lengths: array[int]
    supervised: array[int]

    def append(self, line: int, n_tokens: int, n_supervised: int) -> None:
        """Add the entry of a row."""
        self.lines.append(line)
        self.lengths.append(n_tokens)
        self.supervised.append(n_supervised)

    def select(self, rows: Sequence[int]) -> RowIndex:
        """The entries of some rows."""
        picked = (
            array("I", (column[row] for row in rows))
            for column in (self.lines, self.lengths, self.supervised)
        )
        return RowIndex(*picked)


def open_dataset(
    rows: RowFile, tokenizer: TextTokenizer, policy: TextPolicy, options: DatasetOptions
) -> RowDataset:
    """Check every row of a file and index those that will be used.

    Raises:
        DataError: With all bad rows (20 and a count), each with file and line; or with one problem
            if no rows are left.
    """
    reader = RowReader(rows, tokenizer, policy, options.seq_len, options.ce_last_k)
    scan = _Scan(reader, options)
    scan.run()
    rows.check_unchanged()
    report = scan.tally.report(scan.skipped.shown())
    nothing_left = _nothing_left(report, rows.name)
    if nothing_left is not None and not scan.unreadable:
        raise DataError(nothing_left)
    if scan.fatal:
        raise DataError(*scan.fatal.shown())
    return RowDataset(reader, scan.index, report)


def split_validation(n_rows: int, ratio: float, seed: int) -> tuple[Sequence[int], Sequence[int]]:
    """Hold out a share of the rows: `(train, held out)`, each ascending.

    The source system's rule: `floor(n_rows * ratio)` rows and, when there are more than 20, at
    least 10 and at most half, picked by a shuffle seeded with `seed`. A ratio of 0 holds out
    nothing. The same arguments give the same split on every Python.
    """
    n_valid = int(n_rows * ratio)
    if ratio > 0 and n_rows > 20:
        n_valid = min(max(n_valid, 10), n_rows // 2)
    shuffled = array("I", range(n_rows))
    # `random.shuffle` may change between Python versions, `random()` may not.
    draw = random.Random(seed ^ _SPLIT_STREAM).random
    for last in range(n_rows - 1, 0, -1):
        other = int(draw() * (last + 1))
        shuffled[last], shuffled[other] = shuffled[other], shuffled[last]
    held_out = array("I", sorted(shuffled[:n_valid]))
    return array("I", sorted(shuffled[n_valid:])), held_out


_SPLIT_STREAM = 0xA1B2C3D4E5F61122
"""Separates the split from other uses of the same seed; the source system's number."""


class _Scan:
    """One pass over a file: indexes kept rows, counts the others, collects problems."""

    def __init__(self, reader: RowReader, options: DatasetOptions) -> None:
        self._reader = reader
        self._options = options
        self.index = RowIndex(array("I"), array("I"), array("I"))
        self.tally = DataTally()
        self.fatal = ProblemLog(reader.rows.name)
        self.skipped = ProblemLog(reader.rows.name)

    @property
    def unreadable(self) -> bool:
        """Whether there are fatal problems besides rows without anything to learn."""
        skips = self._options.on_bad_row is OnBadRow.SKIP
        masked = 0 if skips else self.tally.dropped[DropReason.NOTHING_TO_LEARN]
        return len(self.fatal) > masked

    def run(self) -> None:
        """Read the file."""
        rows = self._reader.rows
        for item in rows.scan():
            if isinstance(item, FileRow):
                self._take(item)
            elif is_about_file(item, rows):
                # About the file, not a row of it: no policy for rows covers that.
                self.fatal.add([item])
            else:
                self._reject(DropReason.BAD_ROW, [item])

    def _take(self, read: FileRow) -> None:
        try:
            record = parse_row(read.value, read.line, read.where)
            self.tally.ignored_labels.update(record.ignored)
            reason = self._filtered_out(record)
            if reason is None:
                self._take_encoded(self._reader.encode_whole(record, read), read.place)
            else:
                self.tally.drop(reason)
        except DataError as error:
            self._reject(DropReason.BAD_ROW, error.problems)

    def _filtered_out(self, record: TrainingRecord) -> DropReason | None:
        floor, wanted = self._options.min_rating, self._options.context_filter
        if floor is not None and record.rating is not None and record.rating < floor:
            return DropReason.LOW_RATING
        if wanted and wanted.casefold() not in (record.category or "").casefold():
            return DropReason.CONTEXT_FILTER
        return None

    def _take_encoded(self, whole: EncodedRow, place: str) -> None:
        row = self._reader.truncated(whole)
        is_long = len(row) < len(whole)
        if is_long and self._options.on_long_row is OnLongRow.ERROR:
            self.tally.drop(DropReason.TOO_LONG)
            self.fatal.add([say.row_too_long(place, len(whole), len(row))])
        elif is_long and self._options.on_long_row is OnLongRow.SKIP:
            self.tally.drop(DropReason.TOO_LONG)
        else:
            self._keep(row, place, truncated=is_long)

    def _keep(self, row: EncodedRow, place: str, *, truncated: bool) -> None:
        n_supervised = row.n_supervised
        if n_supervised == 0:
            self._reject(DropReason.NOTHING_TO_LEARN, [say.nothing_to_learn(place, truncated)])
            return
        self.index.append(row.line, len(row), n_supervised)
        self.tally.keep(len(row), n_supervised, truncated=truncated)
        self._reader.remember(row)

    def _reject(self, reason: DropReason, problems: Sequence[Problem]) -> None:
        self.tally.drop(reason)
        skips = self._options.on_bad_row is OnBadRow.SKIP
        (self.skipped if skips else self.fatal).add(problems)


def _nothing_left(report: DataReport, where: str) -> Problem | None:
    """One problem for a file without any rows to train on, whatever the reason."""
    if report.kept:
        return None
    if not report.rows:
        return say.data_file_empty(where)
    masked = report.dropped[DropReason.NOTHING_TO_LEARN]
    if masked == report.rows:
        return say.nothing_to_learn_anywhere(where, masked)
    dropped = [f"{count} {reason}" for reason, count in report.dropped.items() if count]
    return say.no_row_left(where, dropped)
