"""The usable rows of a file, one at a time, with a log of the others. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vox_populi.data.row_files.open_rows import open_rows
from vox_populi.data.row_files.row_file import FileRow, is_about_file
from vox_populi.data.row_formats import learns_something, parse_row
from vox_populi.errors import DataError
from vox_populi.operator_messages import data as say
from vox_tensor.errors import Problem
from vox_tensor.problem_log import ProblemLog
from vox_tensor.records import TrainingRecord


@dataclass(frozen=True, slots=True)
class ScannedRow:
    """A row that can be trained on."""

    read: FileRow
    """The row as it is in its file."""
    record: TrainingRecord

    @property
    def place(self) -> str:
        """File and number, for messages."""
        return self.read.place

    @property
    def value(self) -> dict[str, object]:
        """Its object as written in the file."""
        return self.read.value


class RowScan:
    """Goes through a file any number of times; memory does not grow with the text of its rows.

    Args:
        path: A file of rows, in any format that is read.

    Raises:
        DataError: When it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._file = open_rows(path)
        self.where = self._file.name
        self.log = ProblemLog(self.where)
        """Problems of the last pass."""
        self.n_bad = 0
        """Number of rows that the last pass could not use."""

    def rows(self) -> Iterator[ScannedRow]:
        """Yield the rows that can be trained on; other rows are logged.

        Raises:
            DataError: When the file itself cannot be read.
        """
        self.log, self.n_bad = ProblemLog(self.where), 0
        for item in self._file.scan():
            if isinstance(item, Problem):
                if is_about_file(item, self._file):
                    raise DataError(item)  # about the file, not a line of it
                self._reject([item])
                continue
            try:
                record = parse_row(item.value, item.line, item.where)
            except DataError as error:
                self._reject(error.problems)
                continue
            if learns_something(record):
                yield ScannedRow(item, record)
            else:
                self._reject([say.nothing_to_learn(truncated=False).at(item.place)])

    def read(self, index: int) -> ScannedRow:
        """One row again.

        Raises:
            DataError: When the file changed, or cannot be read any more.
        """
        row = self._file.read(index)
        return ScannedRow(row, parse_row(row.value, row.line, row.where))

    def check_unchanged(self) -> None:
        """Check that the file is the same as when it was opened.

        Raises:
            DataError: When its bytes have changed.
        """
        self._file.check_unchanged()

    def _reject(self, problems: tuple[Problem, ...] | list[Problem]) -> None:
        self.n_bad += 1
        self.log.add(problems)
