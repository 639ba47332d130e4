"""A file in any format as a `RowFile`: an index is a row, held in a spool of JSON Lines."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vox_populi.data.row_files.file_content import FileContent
from vox_populi.data.row_files.json_lines import line_spans, scan_part
from vox_populi.data.row_files.row_file import FileDigest, FileRow, RowPart
from vox_populi.data.row_files.row_spool import RowSpool, parse_converted_line
from vox_populi.errors import DataError
from vox_tensor.errors import Problem
from vox_tensor.jsonl import LineSpan, line_offsets, parse_jsonl_line
from vox_tensor.regular_file import open_regular_file


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSource:
    """The origin of rows, and the function that writes them to a spool."""

    files: tuple[Path, ...]
    name: str
    """Their name in messages."""
    where: str
    """The text before the number of a row in messages."""
    fill: Callable[[RowSpool], None]
    """Writes the rows; raises `DataError` for problems of a file."""
    reading: str | None = None
    """How the bytes are read, where they are not JSON Lines once they are unpacked."""

    @property
    def is_converted(self) -> bool:
        """Whether `fill` writes lines of its own, which may be problems."""
        return self.reading is not None


class SpooledFile:
    """Rows of one file, or of the files of one folder. The spool is written when it is needed.

    Raises:
        DataError: When a file cannot be read.
    """

    def __init__(self, source: RowSource) -> None:
        self._source = source
        self.name = source.name
        self.files = source.files
        self._contents = [FileContent(path) for path in source.files]
        self.contents = tuple(FileDigest(each.path.name, each.digest) for each in self._contents)
        # The same bytes are other rows if they are read as a table or as text.
        reading = [] if source.reading is None else [source.reading]
        self.digest = joint_digest([*reading, *(each.digest for each in self.contents)])
        self._written: _Written | None = None

    def __len__(self) -> int:
        return len(self._lines().offsets) - 1

    def scan(self) -> Iterator[FileRow | Problem]:
        """Every row, and a problem for each one that cannot be read."""
        try:
            parts = self.parts(1)
        except DataError as error:
            yield from error.problems
            return
        for part in parts:
            yield from scan_part(part)

    def parts(self, most: int) -> tuple[RowPart, ...]:
        """The same in up to `most` parts; they can be scanned as long as this object is there.

        Raises:
            DataError: When the file cannot be read.
        """
        lines = self._lines()
        return tuple(self._part(span) for span in line_spans(lines.spool.path, lines.offsets, most))

    def read(self, index: int) -> FileRow:
        """A row, from the spool: whatever happens to the file, it is the row that was scanned.

        Raises:
            DataError: When it is not a row, or the spool cannot be read any more.
        """
        lines = self._lines()
        start, end = lines.offsets[index - 1], lines.offsets[index]
        with open_regular_file(lines.spool.path) as handle:
            handle.seek(start)
            raw = handle.read(end - start)
        parse = parse_converted_line if self._source.is_converted else parse_jsonl_line
        row = parse(raw, index, self._source.where)
        if isinstance(row, Problem):
            raise DataError(row)
        return FileRow(index, index, self._source.where, row.value)

    def place(self, index: int) -> str:
        """File and row."""
        return f"{self._source.where}:{index}"

    def check_unchanged(self) -> None:
        """Check that no file changed since it was opened.

        Raises:
            DataError: When bytes have changed.
        """
        for content in self._contents:
            content.check_unchanged()

    def _part(self, span: LineSpan) -> RowPart:
        path, source = self._lines().spool.path, self._source
        return RowPart(path, source.where, span, is_converted=source.is_converted)

    def _lines(self) -> _Written:
        if self._written is None:
            spool = RowSpool()
            try:
                self._source.fill(spool)
                self.check_unchanged()
                offsets = line_offsets(spool.path)
            except BaseException:
                spool.close()
                raise
            self._written = _Written(spool, offsets)
        return self._written


@dataclass(frozen=True, slots=True)
class _Written:
    spool: RowSpool
    offsets: array[int]


def joint_digest(digests: Sequence[str]) -> str:
    """The digest of one file; of several, one over theirs in order."""
    if len(digests) == 1:
        return digests[0]
    return "sha256:" + hashlib.sha256("\n".join(digests).encode()).hexdigest()
