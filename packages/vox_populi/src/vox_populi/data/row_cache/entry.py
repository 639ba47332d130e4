"""An entry of the row cache: a folder with the columns of all rows, their tokens and a record.

Nothing in it is believed unchecked: `entry.json` has the digest of every file and of itself, and
`tokens.sums` one of each block of `tokens.bin`, which is checked when a row of it is first read.
Columns are memory-mapped. Tokens are read from the file, since the pages of a mapping would count
as memory of the process.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, Self
from weakref import finalize

from vox_populi.data.row_cache.columns import COLUMNS, TOKENS, decoded
from vox_populi.errors import ModelError
from vox_populi.files.strict_json import read_json_object
from vox_populi.files.whole_file import OWN_DIGEST, fits_own_digest, pretty_json, with_own_digest
from vox_tensor.records import EncodedRow
from vox_tensor.regular_file import regular_descriptor

RECORD = "entry.json"
SUMS = "tokens.sums"
BLOCK_BYTES = 2**18
_SUM_BYTES = 8
_MOST_JSON = 64 * 2**20
_BUFFER = 2**20


class EntryWriter:
    """Writes an entry into an empty folder, part after part.

    Every `OSError` is left to the caller.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open = ExitStack()
        self._columns = {name: self._file(name) for name in COLUMNS}
        self._tokens = self._file(TOKENS)
        self._sums = self._file(SUMS)
        self._digests = {name: hashlib.blake2b() for name in (*COLUMNS, SUMS)}
        self._block = hashlib.blake2b(digest_size=_SUM_BYTES)
        self._written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add_column(self, name: str, values: array[Any]) -> None:
        """Append values of one column; ends count from the start of the part."""
        if name == "ends.u64":
            values = array(COLUMNS[name], (self._written + end for end in values))
        data = values.tobytes()
        self._columns[name].write(data)
        self._digests[name].update(data)

    def add_tokens(self, chunks: Iterator[bytes]) -> None:
        """Append the tokens of a part, after its columns."""
        for chunk in chunks:
            self._tokens.write(chunk)
            view = memoryview(chunk)
            while view:
                room = BLOCK_BYTES - self._written % BLOCK_BYTES
                piece, view = view[:room], view[room:]
                self._block.update(piece)
                self._written += len(piece)
                if len(piece) == room:
                    self._close_block()

    def finish(self, record: Mapping[str, object]) -> None:
        """Write the record, which makes the folder an entry."""
        if self._written % BLOCK_BYTES:
            self._close_block()
        self._open.close()
        files = {name: digest.hexdigest() for name, digest in self._digests.items()}
        content = {**record, "files": files, "tokens_bytes": self._written}
        (self._folder / RECORD).write_bytes(pretty_json(with_own_digest(content)))

    def _file(self, name: str) -> IO[bytes]:
        return self._open.enter_context((self._folder / name).open("xb", buffering=_BUFFER))

    def _close_block(self) -> None:
        digest = self._block.digest()
        self._sums.write(digest)
        self._digests[SUMS].update(digest)
        self._block = hashlib.blake2b(digest_size=_SUM_BYTES)


class DamagedEntryError(Exception):
    """An entry, or a row of one, whose bytes are not those that were written."""


class Entry:
    """A complete entry, open for reading.

    Raises:
        DamagedEntryError: When it is not what was written, or is none.
        OSError: When it is missing or cannot be read.
    """

    def __init__(self, folder: Path, expected: Mapping[str, object]) -> None:
        self.folder = folder
        self.record = _checked_record(folder, expected)
        digests = self.record["files"]
        columns: dict[str, Any] = {}
        for name, code in COLUMNS.items():
            view: Any = _mapped(folder / name, digests[name])
            columns[name] = view.cast(code)
        self.indices: Sequence[int] = columns["indices.u32"]
        self.parts: Sequence[int] = columns["parts.u16"]
        self.lengths: Sequence[int] = columns["lengths.u32"]
        self.supervised: Sequence[int] = columns["supervised.u32"]
        self._weights: Sequence[float] = columns["weights.f64"]
        self.difficulties: Sequence[float] = columns["difficulties.f32"]
        self._ends: Sequence[int] = columns["ends.u64"]
        self._sums = bytes(_mapped(folder / SUMS, digests[SUMS]))
        self._good = bytearray(len(self._sums) // _SUM_BYTES)
        self._id_code = str(self.record["id_code"])
        self._n_bytes = int(self.record["tokens_bytes"])
        self._tokens = regular_descriptor(folder / TOKENS, follow_links=False)
        # Rows are read for as long as anybody has the data set.
        finalize(self, os.close, self._tokens)
        if not len(self._ends) == len(self.indices) == len(self.lengths) == self.record["rows"]:
            raise DamagedEntryError

    def __len__(self) -> int:
        return len(self._ends)

    def row(self, number: int) -> EncodedRow:
        """One row by its number in the entry.

        Raises:
            DamagedEntryError: When its bytes are not those that were written.
        """
        start = self._ends[number - 1] if number else 0
        end = self._ends[number]
        for block in range(start // BLOCK_BYTES, (end - 1) // BLOCK_BYTES + 1):
            if not self._good[block]:
                self._check(block)
        length = self.lengths[number]
        ids, labels = decoded(self._bytes(start, end), length, self._id_code)
        grade = self.difficulties[number] or None
        return EncodedRow(ids, labels, self.indices[number], self._weights[number], grade)

    def disown(self) -> None:
        """Remove the record, so that the next reader builds the entry again."""
        with suppress(OSError):
            (self.folder / RECORD).unlink()

    def _check(self, block: int) -> None:
        start = block * BLOCK_BYTES
        data = self._bytes(start, min(start + BLOCK_BYTES, self._n_bytes))
        digest = hashlib.blake2b(data, digest_size=_SUM_BYTES).digest()
        if digest != self._sums[block * _SUM_BYTES : (block + 1) * _SUM_BYTES]:
            raise DamagedEntryError
        self._good[block] = 1

    def _bytes(self, start: int, end: int) -> bytes:
        try:
            os.lseek(self._tokens, start, os.SEEK_SET)
            data = os.read(self._tokens, end - start)
        except OSError:
            raise DamagedEntryError from None
        if len(data) != end - start:
            raise DamagedEntryError
        return data


def _checked_record(folder: Path, expected: Mapping[str, object]) -> dict[str, Any]:
    if not (folder / RECORD).is_file():
        raise DamagedEntryError
    try:
        raw = read_json_object(folder / RECORD, _MOST_JSON)
    except ModelError:
        raise DamagedEntryError from None
    if OWN_DIGEST not in raw or not fits_own_digest(raw):
        raise DamagedEntryError
    record: dict[str, Any] = raw
    if record.get("key") != expected:
        raise DamagedEntryError
    return record


def _mapped(path: Path, digest: str) -> memoryview:
    """The content of a file, memory-mapped and checked."""
    with os.fdopen(regular_descriptor(path, follow_links=False), "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise DamagedEntryError
        view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    if hashlib.blake2b(view).hexdigest() != digest:
        raise DamagedEntryError
    return view
