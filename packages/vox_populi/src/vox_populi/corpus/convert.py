"""Writing rows of any layout and format in one layout: messages, ShareGPT, Alpaca or Parquet.

One pass for JSON Lines, two for Parquet, whose columns must be known first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vox_populi import extras
from vox_populi.corpus.parquet_rows import ParquetColumns, ParquetRows, unpacked
from vox_populi.corpus.row_layouts import RowTarget, converted_row
from vox_populi.corpus.row_outputs import check_row_outputs, row_outputs
from vox_populi.corpus.row_scan import RowScan
from vox_populi.data.dataset import OnBadRow
from vox_populi.data.row_formats import RowShape, parse_row, row_shape
from vox_populi.errors import DataError
from vox_populi.files.json_report import JsonReport, json_fields, shown
from vox_populi.operator_messages import corpus_files as say
from vox_populi.operator_messages import data as say_data
from vox_populi.operator_messages.wording import capped


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertRequest:
    """A request to convert files."""

    files: tuple[Path, ...]
    target: RowTarget
    output: Path
    on_bad_row: OnBadRow = OnBadRow.ERROR
    """What to do with a row that cannot be used, or that the layout cannot hold."""
    force: bool = False
    """Replace an existing file with different content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertReport(JsonReport):
    """Counts of a conversion."""

    output: Path
    target: RowTarget = field(metadata=shown("to"))
    rows: int
    skipped: int
    """Rows that were left out."""
    skipped_by_code: Mapping[str, int]
    layouts: Mapping[str, int]
    """Written rows by the layout they had."""

    @property
    def notes(self) -> tuple[str, ...]:
        """A note on rows that were left out."""
        return (say.note_rows_not_converted(self.skipped),) if self.skipped else ()

    def as_json(self) -> dict[str, object]:
        """The fields, and the notes."""
        return {**json_fields(self), "notes": list(self.notes)}


def convert_rows(request: ConvertRequest) -> ConvertReport:
    """Convert files of rows into one; the inputs are never modified.

    Raises:
        DataError: With every row that cannot be used or held; nothing is written then.
        PreflightError: When the output overlaps an input.
        OSError: When the output cannot be written; nothing is left behind.
    """
    check_row_outputs({"--output": request.output}, request.files)
    conversion = _Conversion(request)
    if request.target is RowTarget.PARQUET:
        _write_parquet(conversion, request)
    else:
        with row_outputs((request.output,), force=request.force) as (writer,):
            for row in conversion.rows():
                writer.write(row)
            conversion.check()
    return conversion.report()


def _write_parquet(conversion: _Conversion, request: ConvertRequest) -> None:
    extras.require("pyarrow")
    columns = ParquetColumns()
    for row in conversion.rows():
        columns.add(row)
    conversion.check()
    with row_outputs((request.output,), force=request.force) as (writer,):
        rows = ParquetRows(writer.write_bytes, columns)
        for row in conversion.rows():
            rows.write(row)
        conversion.check()
        rows.close()


class _Conversion:
    """One pass over all files."""

    def __init__(self, request: ConvertRequest) -> None:
        self._request = request
        self._scans = [RowScan(path) for path in request.files]
        self._skipped = 0
        self._layouts: Counter[str] = Counter()

    def rows(self) -> Iterator[dict[str, object]]:
        """The converted rows of all files, in their order; counts are those of the last pass."""
        self._skipped, self._layouts = 0, Counter()
        for scan in self._scans:
            yield from self._rows_of(scan)
            self._skipped += scan.n_bad

    def check(self) -> None:
        """Refuse bad rows, changed files and an empty result.

        Raises:
            DataError: For any of these.
        """
        problems = [problem for scan in self._scans for problem in scan.log.shown()]
        if problems and self._request.on_bad_row is OnBadRow.ERROR:
            raise DataError(*capped(problems))
        for scan in self._scans:
            scan.check_unchanged()
        if not self._layouts:
            raise DataError(*(say_data.DATA_FILE_EMPTY.at(scan.where) for scan in self._scans))

    def report(self) -> ConvertReport:
        """The counts."""
        codes: Counter[str] = Counter()
        for scan in self._scans:
            codes += scan.log.by_code
        return ConvertReport(
            output=self._request.output,
            target=self._request.target,
            rows=self._layouts.total(),
            skipped=self._skipped,
            skipped_by_code=dict(sorted(codes.items())),
            layouts=dict(sorted(self._layouts.items())),
        )

    def _rows_of(self, scan: RowScan) -> Iterator[dict[str, object]]:
        for row in scan.rows():
            try:
                value = unpacked(row.value)
                record = row.record
                if value is not row.value:
                    record = parse_row(value, record.line, "")
                converted = converted_row(value, record, self._request.target)
            except DataError as error:
                self._skipped += 1
                scan.log.add(replace(each, where=row.place) for each in error.problems)
                continue
            shape = row_shape(row.value) or RowShape.MESSAGES
            self._layouts[shape.value] += 1
            yield converted
