"""One encoded row of a file at a time, by its index, checking that the file is unchanged.

Keeps a bounded number of encoded rows, not the text.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from dataclasses import replace

from vox_populi.data.row_files.row_file import FileRow, RowFile
from vox_populi.data.row_formats import parse_row
from vox_populi.data.supervision import encode_record, last_supervised
from vox_populi.data.training_text import TextPolicy
from vox_tensor.records import EncodedRow, TrainingRecord
from vox_tensor.tokenizer import TextTokenizer


class RowReader:
    """Reads and encodes any row of a file that passed a scan.

    Args:
        rows: The file, or several.
        tokenizer: Turns its text into ids.
        policy: Template and system prompt.
        max_tokens: Number of tokens to keep, from the start of a row.
        ce_last_k: Number of supervised tokens to keep, from the end of that; `None` for all.
    """

    def __init__(
        self,
        rows: RowFile,
        tokenizer: TextTokenizer,
        policy: TextPolicy,
        max_tokens: int | None,
        ce_last_k: int | None = None,
    ) -> None:
        self.rows = rows
        self.tokenizer = tokenizer
        self.policy = policy
        self.max_tokens = max_tokens
        self.ce_last_k = ce_last_k
        self._cache = EncodedRowCache()

    def encoded(self, index: int) -> EncodedRow:
        """Ids and labels of a row; its `line` is the index.

        Raises:
            DataError: When the file changed since it was opened, or cannot be read any more.
        """
        row = self._cache.get(index)
        if row is None:
            read = self.rows.read(index)
            record = parse_row(read.value, read.line, read.where)
            row = self.truncated(self.encode_whole(record, read))
            self._cache.put(row)
        return row

    def encode_whole(self, record: TrainingRecord, read: FileRow) -> EncodedRow:
        """Ids and labels of a row that was already read, without a length limit."""
        row = encode_record(record, self.tokenizer, self.policy, where=read.where)
        return row if read.index == read.line else replace(row, line=read.index)

    def truncated(self, row: EncodedRow) -> EncodedRow:
        """The first `max_tokens` of a row: system prompt, prompt, as much answer as fits.

        Only the last `ce_last_k` supervised tokens of these stay supervised.
        """
        limit = self.max_tokens
        if limit is not None and len(row) > limit:
            row = replace(row, ids=row.ids[:limit], labels=row.labels[:limit])
        return row if self.ce_last_k is None else last_supervised(row, self.ce_last_k)

    def remember(self, row: EncodedRow) -> None:
        """Cache an encoded row if there is room."""
        self._cache.put(row)

    def record(self, index: int) -> TrainingRecord:
        """The messages and labels of a row.

        Raises:
            DataError: As for `encoded`.
        """
        read = self.rows.read(index)
        return parse_row(read.value, read.line, read.where)


class EncodedRowCache:
    """The most recently used rows, as packed integers: at most `max_tokens` of 8 bytes each."""

    def __init__(self, max_tokens: int = 2**21) -> None:
        self._rows: OrderedDict[int, tuple[array[int], array[int], float]] = OrderedDict()
        self._room = max_tokens

    def get(self, line: int) -> EncodedRow | None:
        """The row of a line, if it is cached."""
        held = self._rows.get(line)
        if held is None:
            return None
        self._rows.move_to_end(line)
        ids, labels, weight = held
        return EncodedRow(tuple(ids), tuple(labels), line, weight)

    def put(self, row: EncodedRow) -> None:
        """Cache a row, evicting the least recently used ones."""
        if row.line in self._rows:
            return
        self._rows[row.line] = (array("i", row.ids), array("i", row.labels), row.weight)
        self._room -= _cost(len(row))
        while self._room < 0:
            _, (ids, *_) = self._rows.popitem(last=False)
            self._room += _cost(len(ids))


def _cost(n_tokens: int) -> int:
    """Size of a row's entry in tokens of 8 bytes, including overhead."""
    return n_tokens + 64
