"""JSON Lines, read strictly and written whole. Every problem has its file and line.

A line ends at a newline byte and nowhere else: `str.splitlines` also splits at characters that a
row may contain. Devices and pipes are refused, and no line longer than a cap is held in memory.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO

from vox_tensor import data_messages as say
from vox_tensor.atomic_file import replaced_file
from vox_tensor.errors import DataError, Problem
from vox_tensor.file_form import HEAD_BYTES, form_of_content
from vox_tensor.problem_log import first_problems
from vox_tensor.regular_file import open_regular_file
from vox_tensor.strict_json import parse_json

MAX_LINE_BYTES = 8 * 2**20

_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n"
_CHUNK_BYTES = 2**20
# Part of a string to us, the end of a line to readers that use `str.splitlines`.
_ENDS_FOR_OTHERS = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})


@dataclass(frozen=True, slots=True)
class JsonLine:
    """One row and its line number."""

    line: int
    """1-based."""
    value: dict[str, object]


LineParser = Callable[[bytes, int, str], JsonLine | Problem]
"""A function like `parse_jsonl_line`."""


@dataclass(frozen=True, slots=True)
class LineSpan:
    """Consecutive lines of a file, for a scan of a part of it."""

    start: int
    """Offset of the first one, as in `line_offsets`."""
    first: int
    """Number of the first line, from 1; it is not blank unless it is the first of the file."""
    last: int
    """Number of the last line."""
    has_more: bool
    """Whether a row follows: blank lines at the end are then between rows."""


def read_jsonl(path: Path, *, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[JsonLine]:
    """Read the rows of a file up to the first bad line, then report every bad line there is.

    Args:
        path: A regular file in UTF-8, with or without byte-order mark, LF or CRLF.
        max_line_bytes: Longest line accepted, its end included.

    Raises:
        DataError: After the rows before the first bad line, with the problems of the whole
            file (20 and a count); or at once when the file cannot be read.
    """
    found = scan_jsonl(path, max_line_bytes=max_line_bytes)
    for item in found:
        if isinstance(item, Problem):
            later = (other for other in found if isinstance(other, Problem))
            raise DataError(*first_problems(chain([item], later), where=str(path)))
        yield item


def scan_jsonl(path: Path, *, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[JsonLine | Problem]:
    """Read a file line by line, yielding a row for each good line and a problem for each bad one.

    Blank lines at the end are allowed. Between rows, each run of them is one problem: they are
    often lost rows. A file in a format other than JSON Lines is one problem.

    Args:
        path: As for `read_jsonl`.
        max_line_bytes: As for `read_jsonl`.
    """
    where = str(path)
    try:
        with open_regular_file(path) as handle:
            problem = form_problem(handle, where)
            if problem is not None:
                yield problem
                return
            _skip_bom(handle)
            yield from _scan_lines(handle, where, max_line_bytes)
    except DataError as error:
        yield from error.problems


def scan_span(
    path: Path,
    span: LineSpan,
    *,
    where: str,
    parse: LineParser | None = None,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> Iterator[JsonLine | Problem]:
    """Read some lines of a file as `scan_jsonl` reads all of them; its format is known.

    Args:
        path: As for `read_jsonl`.
        span: Which lines.
        where: The file's name, for messages.
        parse: Reads a line; `None` for `parse_jsonl_line`.
        max_line_bytes: As for `read_jsonl`.
    """
    try:
        with open_regular_file(path) as handle:
            handle.seek(span.start)
            yield from _scan_lines(handle, where, max_line_bytes, span, parse)
    except DataError as error:
        yield from error.problems


def form_problem(handle: IO[bytes], where: str) -> Problem | None:
    """The problem of a file in a format other than JSON Lines; moves to the start of the file."""
    form = form_of_content(handle.read(HEAD_BYTES))
    handle.seek(0)
    return None if form is None else say.not_json_lines(form, where)


def is_blank_line(handle: IO[bytes], start: int, end: int) -> bool:
    """Whether the bytes of a line are nothing but white space."""
    handle.seek(start)
    return not handle.read(min(end - start, _CHUNK_BYTES)).lstrip(_BLANK)


def parse_jsonl_line(raw: bytes, line: int, where: str) -> JsonLine | Problem:
    """Read one line, with or without its line end, for access by `line_offsets`.

    Args:
        raw: The bytes of the line, without a byte-order mark.
        line: Its 1-based number.
        where: The file's name, for messages.
    """
    place = f"{where}:{line}"
    try:
        value = parse_json(raw.rstrip(b"\r\n").decode("utf-8"), place)
    except UnicodeDecodeError as error:
        return say.not_utf8(error.start + 1).at(place)
    except DataError as error:
        return error.problems[0]
    return JsonLine(line, value) if isinstance(value, dict) else say.NOT_AN_OBJECT.at(place)


def line_offsets(path: Path) -> array[int]:
    """Offsets of lines: line `n`, from 1, is the bytes from `offsets[n - 1]` to `offsets[n]`.

    The last entry is the size of the file, so there is one more entry than lines. A byte-order
    mark is not part of any line. Takes 8 bytes of memory per line, however long the lines are.

    Raises:
        DataError: When the file cannot be read.
    """
    with open_regular_file(path) as handle:
        position = _skip_bom(handle)
        offsets = array("Q", [position])
        while chunk := handle.read(_CHUNK_BYTES):
            end = chunk.find(b"\n")
            while end >= 0:
                offsets.append(position + end + 1)
                end = chunk.find(b"\n", end + 1)
            position += len(chunk)
    if offsets[-1] != position:
        offsets.append(position)
    return offsets


def write_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> int:
    """Write rows in UTF-8, one object per line, atomically; return how many.

    Raises:
        ValueError: For NaN, an infinity or a lone surrogate in a row.
        OSError: When the file cannot be written; the old content stays.
    """
    count = 0
    with replaced_file(path) as handle:
        for row in rows:
            handle.write(jsonl_line(row))
            count += 1
    return count


def jsonl_line(row: Mapping[str, object]) -> bytes:
    """A row as `write_jsonl` writes it, line end included.

    Raises:
        ValueError: For NaN, an infinity or a lone surrogate in it.
    """
    text = json.dumps(row, ensure_ascii=False, allow_nan=False)
    return text.translate(_ENDS_FOR_OTHERS).encode("utf-8") + b"\n"


def _skip_bom(handle: IO[bytes]) -> int:
    """Move past a byte-order mark, if there is one, and return the position."""
    return handle.seek(len(_BOM) if handle.read(len(_BOM)) == _BOM else 0)


def _scan_lines(
    handle: IO[bytes],
    where: str,
    limit: int,
    span: LineSpan | None = None,
    parse: LineParser | None = None,
) -> Iterator[JsonLine | Problem]:
    """Read lines from where the file stands; without a span, to its end."""
    parse = parse or parse_jsonl_line
    number, blanks = 0 if span is None else span.first - 1, 0
    last = None if span is None else span.last
    while number != last and (raw := handle.readline(limit + 1)):
        number += 1
        if len(raw) <= limit and not raw.lstrip(_BLANK):
            blanks += 1
            continue
        if blanks:
            yield say.blank_lines(blanks).at(f"{where}:{number - blanks}")
            blanks = 0
        if len(raw) > limit:
            _skip_rest_of_line(handle, raw)
            yield say.line_too_long(limit).at(f"{where}:{number}")
        else:
            yield parse(raw, number, where)
    if blanks and span is not None and span.has_more:
        yield say.blank_lines(blanks).at(f"{where}:{number - blanks + 1}")


def _skip_rest_of_line(handle: IO[bytes], raw: bytes) -> None:
    """Read on to the line's end in pieces of bounded size."""
    if raw.endswith(b"\n"):
        return
    while chunk := handle.read(_CHUNK_BYTES):
        end = chunk.find(b"\n")
        if end >= 0:
            handle.seek(end + 1 - len(chunk), os.SEEK_CUR)
            return
