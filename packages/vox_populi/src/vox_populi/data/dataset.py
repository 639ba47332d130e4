"""The rows of a file as token ids: checked in one pass, then read on demand.

Memory per row is six small numbers, and none for a large file that is in the row cache, so a file
may be larger than memory.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress, count

from vox_populi.data.data_report import DataReport
from vox_populi.data.row_cache.entry import DamagedEntryError, Entry
from vox_populi.data.row_cache.rows_on_disk import CachedRows, RowCache, cached_rows
from vox_populi.data.row_files.row_file import RowFile
from vox_populi.data.row_reader import RowReader
from vox_populi.data.row_scan import (
    DatasetOptions,
    OnBadRow,
    OnLongRow,
    RowRules,
    encoder_of,
    scan_rows,
)
from vox_populi.data.training_text import TextPolicy
from vox_tensor.records import EncodedRow, TrainingRecord
from vox_tensor.tokenizer import TextTokenizer

__all__ = [
    "DatasetOptions",
    "OnBadRow",
    "OnLongRow",
    "RowCache",
    "RowDataset",
    "RowRules",
    "open_dataset",
    "split_validation",
]


class RowDataset:
    """Encoded rows by index, in the order of the file or files.

    Created by `open_dataset`. The same index always gives the same ids; if the file changes, that
    is an error, not different rows.
    """

    def __init__(
        self,
        reader: RowReader,
        index: RowIndex,
        report: DataReport,
        *,
        picked: Sequence[int] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self._reader = reader
        self._index = index
        self._picked = picked
        self.report = report
        """Counts of the whole file, even for a selection of its rows."""
        self.notes = notes
        """What there is to say about how the rows are held."""

    def __len__(self) -> int:
        return len(self._index.indices if self._picked is None else self._picked)

    def __getitem__(self, row: int) -> EncodedRow:
        """Ids and labels of a row.

        Raises:
            IndexError: Past the last row.
            DataError: When the file changed since it was opened, or cannot be read any more.
        """
        number = self._number(row)
        return self._index.held(number) or self._reader.encoded(
            self._index.indices[number], self._index.parts[number]
        )

    def __iter__(self) -> Iterator[EncodedRow]:
        return (self[row] for row in range(len(self)))

    def record(self, row: int) -> TrainingRecord:
        """Messages, category and source of a row.

        Raises:
            IndexError: Past the last row.
            DataError: As for indexing.
        """
        return self._reader.record(self._index.indices[self._number(row)])

    def select(self, rows: Sequence[int]) -> RowDataset:
        """A selection of rows, in the given order; shares file and cache with this data set."""
        picked = array("I", map(self._number, rows))
        return RowDataset(self._reader, self._index, self.report, picked=picked, notes=self.notes)

    @property
    def rows(self) -> RowFile:
        """The file or files; the `line` of an encoded row is an index of it."""
        return self._reader.rows

    @property
    def digest(self) -> str:
        """`sha256:` and the hash of the file's bytes."""
        return self._reader.rows.digest

    @cached_property
    def lengths(self) -> Sequence[int]:
        """Tokens of each row, after truncation."""
        if self._picked is None:
            return self._index.lengths
        return array("I", map(self._index.lengths.__getitem__, self._picked))

    @cached_property
    def difficulties(self) -> Sequence[float]:
        """Difficulty of each row, 1 to 10; 0 for a row that is not graded."""
        if self._picked is None:
            return self._index.difficulties
        return array("f", map(self._index.difficulties.__getitem__, self._picked))

    @property
    def n_tokens(self) -> int:
        """Tokens of all rows."""
        return sum(self.lengths)

    @property
    def n_supervised(self) -> int:
        """Supervised tokens of all rows."""
        supervised = self._index.supervised
        if self._picked is None:
            return sum(supervised)
        return sum(map(supervised.__getitem__, self._picked))

    def _number(self, row: int) -> int:
        """The number of a row among all that are used; negative ones count from the end."""
        if row < 0:
            row += len(self)
        if not 0 <= row < len(self):
            message = f"row {row} of {len(self)}"
            raise IndexError(message)
        return row if self._picked is None else self._picked[row]


@dataclass(slots=True)
class RowIndex:
    """Place, tokens and difficulty of each row, and its ids if they are in the cache."""

    indices: Sequence[int]
    """Index in the file."""
    parts: Sequence[int]
    """Number among the rows of that index."""
    lengths: Sequence[int]
    supervised: Sequence[int]
    difficulties: Sequence[float]
    """0 for a row without one."""
    entry: Entry | None = None

    def held(self, number: int) -> EncodedRow | None:
        """A row of the cache; `None` for one that must be read from the file."""
        if self.entry is None:
            return None
        try:
            return self.entry.row(number)
        except DamagedEntryError:
            self.entry.disown()
            return None


def open_dataset(
    rows: RowFile,
    tokenizer: TextTokenizer,
    policy: TextPolicy,
    options: DatasetOptions,
    cache: RowCache | None = None,
) -> RowDataset:
    """Check every row of a file and index those that will be used.

    Args:
        rows: The file, or several.
        tokenizer: Turns text into ids.
        policy: Template and system prompt.
        options: Which rows are used, and how much of each.
        cache: Where the rows of large files are kept as ids, and how many processes encode them.

    Raises:
        DataError: With all bad rows (20 and a count), each with file and line; or with one problem
            if no rows are left.
    """
    encoder = encoder_of(tokenizer, policy, options)
    reader = RowReader(rows, encoder)
    notes: tuple[str, ...] = ()
    if cache is not None and cache.is_for(rows):
        cached = cached_rows(rows, encoder, options, cache)
        if isinstance(cached, CachedRows):
            entry = cached.entry
            index = _index_of(entry)
            return RowDataset(reader, index, cached.report, notes=cached.notes)
        notes = cached
    kept = _Kept(reader)
    report = scan_rows(rows, encoder, options, kept.add).report_or_raise(rows)
    return RowDataset(reader, kept.index, report, notes=notes)


def _index_of(entry: Entry) -> RowIndex:
    counts = entry.lengths, entry.supervised, entry.difficulties
    return RowIndex(entry.indices, entry.parts, *counts, entry)


class _Kept:
    """Takes the rows of a scan that are used: their places, and as many ids as there is room."""

    def __init__(self, reader: RowReader) -> None:
        self._remember = reader.remember
        self._indices, self._parts = array("I"), array("H")
        self._lengths, self._supervised = array("I"), array("I")
        self._difficulties = array("f")

    def add(self, row: EncodedRow, part: int) -> None:
        """Take a row."""
        self._indices.append(row.line)
        self._parts.append(part)
        self._lengths.append(len(row))
        self._supervised.append(row.n_supervised)
        self._difficulties.append(row.difficulty or 0.0)
        self._remember(row, part)

    @property
    def index(self) -> RowIndex:
        """All that was taken."""
        counts = self._lengths, self._supervised, self._difficulties
        return RowIndex(self._indices, self._parts, *counts)


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
    is_held_out = bytearray(n_rows)
    for row in shuffled[:n_valid]:
        is_held_out[row] = 1
    is_kept = is_held_out.translate(_NEGATED)
    return _rows_with(is_kept), _rows_with(is_held_out)


def _rows_with(flags: Iterable[int]) -> Sequence[int]:
    """The numbers of rows with a flag, in order; 4 bytes each."""
    return array("I", compress(count(), flags))


_NEGATED = bytes((1, 0)) + bytes(254)


_SPLIT_STREAM = 0xA1B2C3D4E5F61122
"""Separates the split from other uses of the same seed; the source system's number."""
