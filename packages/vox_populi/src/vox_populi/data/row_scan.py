"""Checks and encodes the rows of a file, or of a part of one, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Protocol

from vox_populi.data.control_text import ControlText, spells_control
from vox_populi.data.data_report import DataReport, DataTally, DropReason
from vox_populi.data.row_files.row_file import FileRow, RowFile
from vox_populi.data.row_files.text_rows import MOST_CHARACTERS
from vox_populi.data.row_formats import parse_row
from vox_populi.data.row_reader import RowEncoder
from vox_populi.data.training_text import TextPolicy
from vox_populi.data.trajectory_weights import NO_TRAJECTORY_RULES, TrajectoryRules
from vox_populi.errors import DataError
from vox_populi.operator_messages import data as say
from vox_populi.operator_messages import rows as say_rows
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
    text_chunk_chars: int = MOST_CHARACTERS
    """Most characters of a row of plain text or Markdown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetOptions(RowRules):
    """The rules for rows, and how much of each row is used."""

    seq_len: int | None = None
    """Largest number of tokens per row; `None` for no limit."""
    ce_last_k: int | None = None
    """Learn only this many supervised tokens at the end of a row; `None` for all of them."""
    trajectory: TrajectoryRules = NO_TRAJECTORY_RULES
    """What labels make of a row's weight."""

    def __post_init__(self) -> None:
        for name, limit in (("seq_len", self.seq_len), ("ce_last_k", self.ce_last_k)):
            if limit is not None and limit < 1:
                message = f"{name} must be at least 1, got {limit}"
                raise ValueError(message)

    @classmethod
    def of(
        cls,
        rules: RowRules,
        *,
        seq_len: int | None,
        ce_last_k: int | None = None,
        trajectory: TrajectoryRules = NO_TRAJECTORY_RULES,
    ) -> DatasetOptions:
        """Add the lengths and weights of a run to its rules."""
        values = {each.name: getattr(rules, each.name) for each in fields(RowRules)}
        return cls(**values, seq_len=seq_len, ce_last_k=ce_last_k, trajectory=trajectory)


def encoder_of(tokenizer: TextTokenizer, policy: TextPolicy, options: DatasetOptions) -> RowEncoder:
    """What turns rows into ids under these options."""
    return RowEncoder(tokenizer, policy, options.seq_len, options.ce_last_k, options.trajectory)


def left_out_by(record: TrainingRecord, rules: RowRules) -> DropReason | None:
    """The rule that leaves a row out; `None` if it is used."""
    floor, wanted = rules.min_rating, rules.context_filter
    if floor is not None and record.rating is not None and record.rating < floor:
        return DropReason.LOW_RATING
    if wanted and wanted.casefold() not in (record.category or "").casefold():
        return DropReason.CONTEXT_FILTER
    return None


def left_out_for_text(rule: ControlText, place: str) -> DropReason | None:
    """What a rule makes of a row that spells a control token; `None` if it is used.

    Raises:
        DataError: When the rule refuses it.
    """
    if rule is ControlText.ERROR:
        raise DataError(say_rows.CONTROL_TEXT_IN_ROW.at(place))
    return DropReason.CONTROL_TEXT if rule is ControlText.SKIP else None


class ProblemTaker(Protocol):
    """Receives problems one after the other, such as a `ProblemLog`."""

    def add(self, problems: Iterable[Problem], /) -> None:
        """Take problems."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowScan:
    """One pass over rows: hands on those that are used, counts the others, reports problems."""

    encoder: RowEncoder
    options: DatasetOptions
    keep: Callable[[EncodedRow, int], None]
    """Called with each row that is used, and its number among those of one index."""
    fatal: ProblemTaker
    skipped: ProblemTaker
    files: frozenset[str]
    """Names of the files: a problem whose place is one of them is about all of it."""
    tally: DataTally = field(default_factory=DataTally)

    def run(self, items: Iterable[FileRow | Problem]) -> None:
        """Take rows and problems as they come."""
        for item in items:
            if isinstance(item, FileRow):
                self._take(item)
            elif item.where in self.files:
                # About the file, not a row of it: no policy for rows covers that.
                self.fatal.add([item])
            else:
                self._reject(DropReason.BAD_ROW, [item])

    def _take(self, read: FileRow) -> None:
        try:
            record = parse_row(read.value, read.line, read.where)
            self.tally.ignored_labels.update(record.ignored)
            reason = left_out_by(record, self.options) or self._left_out_for_text(
                record, read.place
            )
            if reason is None:
                self.tally.trajectories += self.options.trajectory.factor(record) != 1.0
                self.tally.graded += record.difficulty is not None
                for part, row in enumerate(self.encoder.whole(record, read)):
                    self._take_encoded(row, part, read.place)
            else:
                self.tally.drop(reason)
        except DataError as error:
            self._reject(DropReason.BAD_ROW, error.problems)

    def _left_out_for_text(self, record: TrainingRecord, place: str) -> DropReason | None:
        rule, tokenizer = self.encoder.policy.on_control_text, self.encoder.tokenizer
        if rule is ControlText.TEXT or not spells_control(record, tokenizer):
            return None
        if rule is ControlText.KEEP:
            self.tally.control_rows += 1
        return left_out_for_text(rule, place)

    def _take_encoded(self, whole: EncodedRow, part: int, place: str) -> None:
        row = self.encoder.truncated(whole)
        is_long = len(row) < len(whole)
        if is_long and self.options.on_long_row is OnLongRow.ERROR:
            self.tally.drop(DropReason.TOO_LONG)
            self.fatal.add([say.row_too_long(len(whole), len(row)).at(place)])
        elif is_long and self.options.on_long_row is OnLongRow.SKIP:
            self.tally.drop(DropReason.TOO_LONG)
        else:
            self._keep(row, part, place, truncated=is_long)

    def _keep(self, row: EncodedRow, part: int, place: str, *, truncated: bool) -> None:
        n_supervised = row.n_supervised
        if n_supervised == 0:
            self._reject(DropReason.NOTHING_TO_LEARN, [say.nothing_to_learn(truncated).at(place)])
            return
        self.tally.keep(len(row), n_supervised, truncated=truncated)
        self.keep(row, part)

    def _reject(self, reason: DropReason, problems: Sequence[Problem]) -> None:
        self.tally.drop(reason)
        skips = self.options.on_bad_row is OnBadRow.SKIP
        (self.skipped if skips else self.fatal).add(problems)


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What a scan of all rows found."""

    tally: DataTally
    fatal: ProblemLog
    skipped: ProblemLog
    skips_bad_rows: bool

    @classmethod
    def empty(cls, rows: RowFile, options: DatasetOptions) -> ScanResult:
        """The result before the first row."""
        skips = options.on_bad_row is OnBadRow.SKIP
        return cls(DataTally(), ProblemLog(rows.name), ProblemLog(rows.name), skips)

    def report_or_raise(self, rows: RowFile) -> DataReport:
        """The counts, if every row can be used or left out.

        Raises:
            DataError: With all problems; with one if no rows are left; when the file changed.
        """
        rows.check_unchanged()
        report = self.tally.report(self.skipped.shown())
        nothing = _nothing_left(report, rows.name)
        if nothing is not None and not self._is_unreadable:
            raise DataError(nothing)
        if self.fatal:
            raise DataError(*self.fatal.shown())
        return report

    @property
    def _is_unreadable(self) -> bool:
        """Whether there are fatal problems besides rows without anything to learn."""
        masked = 0 if self.skips_bad_rows else self.tally.dropped[DropReason.NOTHING_TO_LEARN]
        return len(self.fatal) > masked


def scan_rows(
    rows: RowFile,
    encoder: RowEncoder,
    options: DatasetOptions,
    keep: Callable[[EncodedRow, int], None],
) -> ScanResult:
    """Scan a file from its start to its end."""
    result = ScanResult.empty(rows, options)
    RowScan(
        encoder=encoder,
        options=options,
        keep=keep,
        fatal=result.fatal,
        skipped=result.skipped,
        files=frozenset(map(str, rows.files)),
        tally=result.tally,
    ).run(rows.scan())
    return result


def _nothing_left(report: DataReport, where: str) -> Problem | None:
    """One problem for a file without any rows to train on, whatever the reason."""
    if report.kept:
        return None
    if not report.rows:
        return say.DATA_FILE_EMPTY.at(where)
    masked = report.dropped[DropReason.NOTHING_TO_LEARN]
    if masked == report.rows:
        return say.nothing_to_learn_anywhere(masked).at(where)
    dropped = [f"{count} {reason}" for reason, count in report.dropped.items() if count]
    return say.no_row_left(dropped).at(where)
