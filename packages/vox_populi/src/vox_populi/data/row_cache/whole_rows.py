"""Whole rows as ids, without a limit of length: encoded by all cores if the file is large."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from vox_populi.data.row_cache.entry import DamagedEntryError, Entry
from vox_populi.data.row_cache.rows_on_disk import CachedRows, RowCache, cached_rows
from vox_populi.data.row_files.row_file import FileRow, RowFile
from vox_populi.data.row_reader import RowEncoder
from vox_populi.data.row_scan import DatasetOptions, OnBadRow
from vox_populi.errors import DataError
from vox_tensor.records import EncodedRow, TrainingRecord


class WholeRows:
    """The rows of one file or set of files under one tokenizer and template.

    Args:
        rows: The file or files.
        encoder: Encodes a row that is not kept; it has no limit of length.
        cache: Where rows of large files are kept; `None` encodes each when it is asked for.
    """

    def __init__(self, rows: RowFile, encoder: RowEncoder, cache: RowCache | None) -> None:
        assert encoder.max_tokens is None, "rows are whole"
        self._encoder = encoder
        self._entry: Entry | None = None
        self.notes: tuple[str, ...] = ()
        """What there is to say about how they are kept."""
        if cache is None or not cache.is_for(rows):
            return
        options = DatasetOptions(on_bad_row=OnBadRow.SKIP)
        try:
            found = cached_rows(rows, encoder, options, cache)
        except DataError:
            return  # Not one row can be used: each says why when it is asked for.
        if isinstance(found, CachedRows):
            self._entry, self.notes = found.entry, found.notes
        else:
            self.notes = found

    def of(self, record: TrainingRecord, read: FileRow) -> Sequence[EncodedRow]:
        """What a row that was read gives.

        Raises:
            DataError: When it cannot be laid out.
        """
        return self._held(read.index) or self._encoder.whole(record, read)

    def _held(self, index: int) -> list[EncodedRow]:
        """The kept rows of an index: none for one that is bad, and none that is damaged."""
        entry = self._entry
        if entry is None:
            return []
        number, held = bisect_left(entry.indices, index), []
        try:
            while number < len(entry) and entry.indices[number] == index:
                held.append(entry.row(number))
                number += 1
        except DamagedEntryError:
            entry.disown()
            self._entry = None
            return []
        return held
