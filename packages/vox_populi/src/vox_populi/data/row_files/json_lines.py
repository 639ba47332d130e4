"""A file of JSON Lines as a `RowFile`: an index is a line.

Keeps the offsets of the lines (8 bytes per line), not their text.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from vox_populi.data.row_files.file_content import FileContent
from vox_populi.data.row_files.row_file import FileDigest, FileRow, RowPart
from vox_populi.data.row_files.row_spool import parse_converted_line
from vox_populi.errors import DataError
from vox_tensor.errors import Problem
from vox_tensor.jsonl import (
    JsonLine,
    LineSpan,
    form_problem,
    is_blank_line,
    line_offsets,
    parse_jsonl_line,
    scan_jsonl,
    scan_span,
)
from vox_tensor.regular_file import open_regular_file


class JsonLinesFile:
    """Rows of one file, one JSON object per line.

    Raises:
        DataError: When the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self.files = (path,)
        self._content = FileContent(path)
        # Hashed now: what is read later is checked against it.
        self.digest = self._content.digest
        self.contents = (FileDigest(path.name, self.digest),)

    @cached_property
    def _offsets(self) -> array[int]:
        return line_offsets(self.path)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def scan(self) -> Iterator[FileRow | Problem]:
        """Every row, and a problem for each line without one."""
        return _rows(scan_jsonl(self.path), self.name)

    def parts(self, most: int) -> tuple[RowPart, ...]:
        """The same in up to `most` parts.

        Raises:
            DataError: When the file cannot be read, or has another format.
        """
        with open_regular_file(self.path) as handle:
            problem = form_problem(handle, self.name)
        if problem is not None:
            raise DataError(problem)
        spans = line_spans(self.path, self._offsets, most)
        return tuple(RowPart(self.path, self.name, span) for span in spans)

    def read(self, index: int) -> FileRow:
        """The row on a line.

        Raises:
            DataError: When the file changed since it was opened, or cannot be read any more.
        """
        start, end = self._offsets[index - 1], self._offsets[index]
        with open_regular_file(self.path) as handle:
            self._content.check_unchanged(handle)
            handle.seek(start)
            raw = handle.read(end - start)
        row = parse_jsonl_line(raw, index, self.name)
        if isinstance(row, Problem):
            raise DataError(row)
        return FileRow(index, index, self.name, row.value)

    def place(self, index: int) -> str:
        """File and line."""
        return f"{self.name}:{index}"

    def check_unchanged(self) -> None:
        """Check that the file is the same as when it was opened.

        Raises:
            DataError: When its bytes have changed.
        """
        self._content.check_unchanged()


def scan_part(part: RowPart) -> Iterator[FileRow | Problem]:
    """The rows and problems of a part, the same as `RowFile.scan` yields for it."""
    parse = parse_converted_line if part.is_converted else parse_jsonl_line
    lines = scan_span(part.held_in, part.span, where=part.where, parse=parse)
    return _rows(lines, part.where, part.index_before)


def line_spans(path: Path, offsets: array[int], most: int) -> Iterator[LineSpan]:
    """Lines of a file in up to `most` spans of about equal size, each but the first after a row.

    Args:
        path: The file.
        offsets: Those of `line_offsets`.
        most: Number of spans; fewer for a file with few lines.
    """
    starts = [1]
    with open_regular_file(path) as handle:
        total = offsets[-1] - offsets[0]
        for number in range(1, most):
            line = max(
                bisect_left(offsets, offsets[0] + total * number // most) + 1, starts[-1] + 1
            )
            # A blank line is a problem only if a row follows, which a scan up to it cannot see.
            while line < len(offsets) and is_blank_line(handle, offsets[line - 1], offsets[line]):
                line += 1
            if line < len(offsets):
                starts.append(line)
    ends = [*(start - 1 for start in starts[1:]), len(offsets) - 1]
    for start, end in zip(starts, ends, strict=True):
        yield LineSpan(offsets[start - 1], start, end, has_more=end < len(offsets) - 1)


def _rows(
    lines: Iterator[JsonLine | Problem], where: str, index_before: int = 0
) -> Iterator[FileRow | Problem]:
    for item in lines:
        if isinstance(item, JsonLine):
            yield FileRow(item.line + index_before, item.line, where, item.value)
        else:
            yield item
