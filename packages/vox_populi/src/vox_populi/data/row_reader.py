"""One encoded row of a file at a time, by its index, checking that the file is unchanged.

Keeps a bounded number of encoded rows, not the text.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from vox_populi.data.row_files.row_file import FileRow, RowFile
from vox_populi.data.row_formats import parse_row
from vox_populi.data.supervision import encode_rows, last_supervised
from vox_populi.data.training_text import TextPolicy
from vox_populi.data.trajectory_weights import NO_TRAJECTORY_RULES, TrajectoryRules
from vox_tensor.records import EncodedRow, TrainingRecord
from vox_tensor.tokenizer import TextTokenizer


@dataclass(frozen=True, slots=True)
class RowEncoder:
    """Turns rows into ids."""

    tokenizer: TextTokenizer
    policy: TextPolicy
    """Template and system prompt."""
    max_tokens: int | None
    """Number of tokens to keep, from the start of a row."""
    ce_last_k: int | None = None
    """Number of supervised tokens to keep, from the end of that; `None` for all."""
    trajectory: TrajectoryRules = NO_TRAJECTORY_RULES
    """What a row's labels make of its weight."""

    def whole(self, record: TrainingRecord, read: FileRow) -> tuple[EncodedRow, ...]:
        """Ids and labels of what a row that was read gives, without a length limit."""
        rows = encode_rows(record, self.tokenizer, self.policy, where=read.where)
        changes = self._beside_the_text(record, read)
        return tuple(replace(row, **changes) for row in rows) if changes else rows

    def _beside_the_text(self, record: TrainingRecord, read: FileRow) -> dict[str, Any]:
        """Fields of an encoded row that do not follow from its text, where they are special."""
        changes: dict[str, Any] = {}
        if read.index != read.line:
            changes["line"] = read.index
        if record.difficulty is not None:
            changes["difficulty"] = record.difficulty
        if self.trajectory.trajectory_weighting_enabled:
            changes["weight"] = self.trajectory.weight(record)
        return changes

    def truncated(self, row: EncodedRow) -> EncodedRow:
        """The first `max_tokens` of a row: system prompt, prompt, as much answer as fits.

        Only the last `ce_last_k` supervised tokens of these stay supervised.
        """
        limit = self.max_tokens
        if limit is not None and len(row) > limit:
            row = replace(row, ids=row.ids[:limit], labels=row.labels[:limit])
        return row if self.ce_last_k is None else last_supervised(row, self.ce_last_k)


class RowReader:
    """Reads and encodes any row of a file that passed a scan.

    Args:
        rows: The file, or several.
        encoder: Turns them into ids.
    """

    def __init__(self, rows: RowFile, encoder: RowEncoder) -> None:
        self.rows = rows
        self.encoder = encoder
        self._cache = EncodedRowCache()

    def encoded(self, index: int, part: int = 0) -> EncodedRow:
        """Ids and labels of a row; its `line` is the index.

        Args:
            index: Index of the row in its file.
            part: Its number among the rows that this index gives.

        Raises:
            DataError: When the file changed since it was opened, or cannot be read any more.
        """
        row = self._cache.get(index, part)
        if row is None:
            read = self.rows.read(index)
            record = parse_row(read.value, read.line, read.where)
            row = self.encoder.truncated(self.encoder.whole(record, read)[part])
            self._cache.put(row, part)
        return row

    def remember(self, row: EncodedRow, part: int = 0) -> None:
        """Cache an encoded row if there is room."""
        self._cache.put(row, part)

    def record(self, index: int) -> TrainingRecord:
        """The messages and labels of a row.

        Raises:
            DataError: As for `encoded`.
        """
        read = self.rows.read(index)
        return parse_row(read.value, read.line, read.where)


_Packed: TypeAlias = "tuple[array[int], array[int], float, float | None]"
"""Ids, labels, weight and difficulty of a row."""


class EncodedRowCache:
    """The most recently used rows, as packed integers: at most `max_tokens` of 8 bytes each."""

    def __init__(self, max_tokens: int = 2**21) -> None:
        self._rows: OrderedDict[tuple[int, int], _Packed] = OrderedDict()
        self._room = max_tokens

    def get(self, index: int, part: int = 0) -> EncodedRow | None:
        """A part of what an index gives, if it is cached."""
        held = self._rows.get((index, part))
        if held is None:
            return None
        self._rows.move_to_end((index, part))
        ids, labels, weight, difficulty = held
        return EncodedRow(tuple(ids), tuple(labels), index, weight, difficulty)

    def put(self, row: EncodedRow, part: int = 0) -> None:
        """Cache a row, evicting the least recently used ones."""
        key = row.line, part
        if key in self._rows:
            return
        ids, labels = array("i", row.ids), array("i", row.labels)
        self._rows[key] = ids, labels, row.weight, row.difficulty
        self._room -= _cost(len(row))
        while self._room < 0:
            _, (ids, *_) = self._rows.popitem(last=False)
            self._room += _cost(len(ids))


def _cost(n_tokens: int) -> int:
    """Size of a row's entry in tokens of 8 bytes, including overhead."""
    return n_tokens + 64
