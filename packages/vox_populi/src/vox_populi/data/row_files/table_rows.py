"""The rows of a CSV file or another table of text: the first line has the keys.

Every cell is text, as in the file. Conversations and other lists are JSON in their cells.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import BinaryIO, TextIO

from vox_populi.data.row_files.row_spool import Converted, converted_row
from vox_populi.errors import DataError
from vox_populi.operator_messages import row_files as say
from vox_tensor.errors import Problem
from vox_tensor.jsonl import MAX_LINE_BYTES
from vox_tensor.strict_json import parse_json

DELIMITERS = ",\t;|"
_SAMPLE_RECORDS = 20
_LISTS = frozenset({"messages", "turns", "conversations", "history", "tools", "tool_calls"})
"""Keys whose cells hold JSON."""
_TEXTS_OR_LISTS = frozenset({"prompt", "completion", "response", "output"})
"""Keys whose cells hold text, or a list of messages as JSON."""
_NUMBERS = frozenset({"weight"})
_TEXTS = frozenset(
    (
        *("instruction", "input", "context", "question", "answer", "query", "text", "system"),
        *("rating", "category", "source", "lane", "reasoning_content", "thinking"),
    )
)
KNOWN_KEYS = _LISTS | _TEXTS_OR_LISTS | _NUMBERS | _TEXTS
"""Keys of rows; a header may write them in any case."""


def table_rows(content: BinaryIO, delimiter: str, where: str) -> Iterator[Converted]:
    """The records below the header.

    Args:
        content: UTF-8.
        delimiter: Between cells.
        where: The file's name, for problems that concern all of it.

    Raises:
        DataError: For a header that repeats a key, and text that is not UTF-8.
    """
    with io.TextIOWrapper(content, encoding="utf-8-sig", newline="") as text:
        lines = _Lines(text, where)
        records = _records(lines, delimiter)
        header = next(records, None)
        if header is None:
            return
        if isinstance(header, Problem):
            raise DataError(header.at(where))
        keys = _keys(header, where)
        for record in records:
            yield record if isinstance(record, Problem) else _row(keys, record)


def delimiter_of(head: bytes, *, default: str) -> str:
    """What separates the cells of a table that begins with these bytes."""
    text = head.decode("utf-8-sig", "replace")
    return max(DELIMITERS, key=lambda each: (*_fitness(text, each), each == default))


def has_known_keys(head: bytes) -> bool:
    """Whether a file begins like a table of rows, and not like text with commas in it."""
    text = head.decode("utf-8-sig", "replace")
    return any(
        known and n_cells > 1 and is_even
        for known, is_even, n_cells in (_fitness(text, each) for each in DELIMITERS)
    )


def _fitness(text: str, delimiter: str) -> tuple[int, bool, int]:
    """Known keys in the header, whether the first records are as long as it, and its length."""
    whole = text if len(text) < 2**15 else text[: text.rfind("\n") + 1] or text
    reader = csv.reader(io.StringIO(whole, newline=""), delimiter=delimiter)
    try:
        sample = [record for record, _ in zip(reader, range(_SAMPLE_RECORDS), strict=False)]
    except csv.Error:
        return 0, False, 0
    sample = [record for record in sample if record]
    if not sample:
        return 0, False, 0
    header = sample[0]
    known = sum(cell.strip().lower() in KNOWN_KEYS for cell in header)
    return known, all(len(record) == len(header) for record in sample), len(header)


class _Lines:
    """Lines of text for the parser, none of them of any size."""

    def __init__(self, text: TextIO, where: str) -> None:
        self._text = text
        self._where = where
        self.taken = 0
        """Characters since the record began."""

    def __iter__(self) -> Iterator[str]:
        while line := self._line():
            self.taken += len(line)
            if self.taken > MAX_LINE_BYTES:
                raise DataError(say.row_too_large(MAX_LINE_BYTES, self._where))
            yield line

    def _line(self) -> str:
        try:
            return self._text.readline(MAX_LINE_BYTES + 1)
        except UnicodeDecodeError:
            raise DataError(say.NOT_UTF8.at(self._where)) from None


def _records(lines: _Lines, delimiter: str) -> Iterator[list[str] | Problem]:
    """Every record that is not blank; a problem for each whose quotes are wrong."""
    # The parser's own limit is for the whole process; ours is that of a line.
    csv.field_size_limit(max(csv.field_size_limit(), 2 * MAX_LINE_BYTES))
    reader = csv.reader(iter(lines), delimiter=delimiter, strict=True)
    while True:
        lines.taken = 0
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield say.RECORD_UNREADABLE
            continue
        if record:
            yield record


def _keys(header: Sequence[str], where: str) -> list[str]:
    """The key of each column; empty for one without a name, such as the index of pandas."""
    names = [cell.strip() for cell in header]
    keys = [name.lower() if name.lower() in KNOWN_KEYS else name for name in names]
    named = [key for key in keys if key]
    repeated = sorted({key for key in named if named.count(key) > 1})
    if repeated:
        raise DataError(say.header_repeats(len(repeated)).at(where))
    return keys


def _row(keys: Sequence[str], record: list[str]) -> Converted:
    while len(record) > len(keys) and not record[-1]:
        record.pop()  # A spreadsheet writes a delimiter too many.
    if len(record) != len(keys):
        return say.record_ragged(len(record), len(keys))
    row: dict[str, object] = {}
    for key, cell in zip(keys, record, strict=True):
        if key and cell:
            value = _value(key, cell)
            if isinstance(value, Problem):
                return value
            row[key] = value
    return converted_row(row)


def _value(key: str, cell: str) -> object:
    """The value of a cell; a problem if it should be JSON and is not."""
    if key in _NUMBERS:
        return _number(cell)
    if key in _LISTS:
        try:
            return parse_json(cell, "")
        except DataError:
            return say.cell_not_json(key)
    if key in _TEXTS_OR_LISTS and cell.lstrip().startswith("[{"):
        return _messages(cell)
    return cell


def _messages(cell: str) -> object:
    try:
        found = parse_json(cell, "")
    except DataError:
        return cell
    are_messages = isinstance(found, list) and all(
        isinstance(each, dict) and "role" in each and "content" in each for each in found
    )
    return found if are_messages else cell


def _number(cell: str) -> object:
    try:
        return float(cell)
    except ValueError:
        return cell
