"""One row of a file at a time, by its line, with proof that the file is still the same.

Holds where the lines start (8 bytes a line) and a bounded number of encoded rows, never the text.
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
        max_tokens: Tokens kept of a row, from its start.
        ce_last_k: Supervised tokens that stay so of what is kept, from its end; `None` for all.

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
        """Ids and labels of a row that was read already, however many there are."""
        return encode_record(record, self.tokenizer, self.policy, where=str(self.path))

    def truncated(self, row: EncodedRow) -> EncodedRow:
        """The first `max_tokens` of a row: system prompt, prompt, as much answer as fits.

        Of these the last `ce_last_k` supervised tokens stay so.
        """
        limit = self.max_tokens
        if limit is not None and len(row) > limit:
            row = replace(row, ids=row.ids[:limit], labels=row.labels[:limit])
        return row if self.ce_last_k is None else last_supervised(row, self.ce_last_k)

    def remember(self, row: EncodedRow) -> None:
        """Keep a row that was encoded already at hand, if there is room."""
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
        """Compare the file with what it was when it was opened.

        Raises:
            DataError: When its bytes are others.
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
    """The rows used last, as packed integers: at most `max_tokens` of them, 8 bytes each."""

    def __init__(self, max_tokens: int = 2**21) -> None:
        self._rows: OrderedDict[int, tuple[array[int], array[int], float]] = OrderedDict()
        self._room = max_tokens

    def get(self, line: int) -> EncodedRow | None:
        """The row of a line, if it is held."""
        held = self._rows.get(line)
        if held is None:
            return None
        self._rows.move_to_end(line)
        ids, labels, weight = held
        return EncodedRow(tuple(ids), tuple(labels), line, weight)

    def put(self, row: EncodedRow) -> None:
        """Hold a row, at the expense of those that were not used for longest."""
        if row.line in self._rows:
            return
        self._rows[row.line] = (array("i", row.ids), array("i", row.labels), row.weight)
        self._room -= _cost(len(row))
        while self._room < 0:
            _, (ids, *_) = self._rows.popitem(last=False)
            self._room += _cost(len(ids))


def _cost(n_tokens: int) -> int:
    """Tokens of a row and what its entry takes besides, in tokens of 8 bytes."""
    return n_tokens + 64


def _stamp(handle: IO[bytes]) -> tuple[int, int]:
    status = os.fstat(handle.fileno())
    return status.st_size, status.st_mtime_ns
