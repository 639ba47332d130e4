"""One row of a file at a time, by its line, checking that the file is unchanged.

Keeps the offsets of the lines (8 bytes per line) and a bounded number of encoded rows, not the
text.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import IO

from vox_populi.data.row_formats import parse_row
from vox_populi.data.supervision import encode_record, last_supervised
from vox_populi.data.training_text import TextPolicy
from vox_populi.errors import DataError
from vox_populi.operator_messages import data as say
from vox_tensor.errors import Problem
from vox_tensor.jsonl import line_offsets, parse_jsonl_line
from vox_tensor.records import EncodedRow, TrainingRecord
from vox_tensor.regular_file import open_regular_file
from vox_tensor.tokenizer import TextTokenizer

_CHUNK_BYTES = 2**20


def file_digest(path: Path) -> str:
    """`sha256:` and the hash of a file's bytes.

    Raises:
        DataError: When the file cannot be read.
    """
    digest = hashlib.sha256()
    with open_regular_file(path) as handle:
        while chunk := handle.read(_CHUNK_BYTES):
            digest.update(chunk)
    return "sha256:" + digest.hexdigest()


class RowReader:
    """Reads and encodes any row of a file that passed a scan.

    Args:
        path: A JSON Lines file.
        tokenizer: Turns its text into ids.
        policy: Template and system prompt.
        max_tokens: Number of tokens to keep, from the start of a row.
        ce_last_k: Number of supervised tokens to keep, from the end of that; `None` for all.

    Raises:
        DataError: When the file cannot be read.
    """

    def __init__(
        self,
        path: Path,
        tokenizer: TextTokenizer,
        policy: TextPolicy,
        max_tokens: int | None,
        ce_last_k: int | None = None,
    ) -> None:
        self.path = path
        self.tokenizer = tokenizer
        self.policy = policy
        self.max_tokens = max_tokens
        self.ce_last_k = ce_last_k
        with open_regular_file(path) as handle:
            self._stamp = _stamp(handle)
        self._offsets: array[int] = line_offsets(path)
        self.digest = file_digest(path)
        self._cache = EncodedRowCache()

    def encoded(self, line: int) -> EncodedRow:
        """Ids and labels of the row on a line (from 1).

        Raises:
            DataError: When the file changed since it was opened, or cannot be read any more.
        """
        row = self._cache.get(line)
        if row is None:
            row = self.truncated(self.encode_whole(self.record(line)))
            self._cache.put(row)
        return row

    def encode_whole(self, record: TrainingRecord) -> EncodedRow:
        """Ids and labels of a row that was already read, without a length limit."""
        return encode_record(record, self.tokenizer, self.policy, where=str(self.path))

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

    def record(self, line: int) -> TrainingRecord:
        """The messages and labels of the row on a line (from 1).

        Raises:
            DataError: As for `encoded`.
        """
        start, end = self._offsets[line - 1], self._offsets[line]
        with open_regular_file(self.path) as handle:
            self._check_unchanged(handle)
            handle.seek(start)
            raw = handle.read(end - start)
        row = parse_jsonl_line(raw, line, str(self.path))
        if isinstance(row, Problem):
            raise DataError(row)
        return parse_row(row.value, line, str(self.path))

    def check_unchanged(self) -> None:
        """Check that the file is the same as when it was opened.

        Raises:
            DataError: When its bytes have changed.
        """
        with open_regular_file(self.path) as handle:
            self._check_unchanged(handle)

    def _check_unchanged(self, handle: IO[bytes]) -> None:
        stamp = _stamp(handle)
        if stamp == self._stamp:
            return
        # A copy or a touch gives the same bytes another time stamp; only the bytes count.
        if file_digest(self.path) != self.digest:
            raise DataError(say.data_file_changed(str(self.path)))
        self._stamp = stamp


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


def _stamp(handle: IO[bytes]) -> tuple[int, int]:
    status = os.fstat(handle.fileno())
    return status.st_size, status.st_mtime_ns
