"""The bytes of a file as UTF-8 text would have them: unpacked and transcoded on the way.

Nothing is unpacked into memory. A file that unpacks to far more than its size is refused.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from vox_populi import extras
from vox_populi.errors import DataError
from vox_populi.operator_messages import row_files as say
from vox_tensor.file_form import HEAD_BYTES, FileForm, form_of_content
from vox_tensor.regular_file import open_regular_file

MODULE_OF_ZSTD = "zstandard"
MOST_BYTES_UNQUESTIONED = 256 * 2**20
"""Up to this size, a file may unpack to any multiple of its size."""
MOST_TIMES_LARGER = 200
"""Beyond that, to this multiple of it; text packs to a third to a twentieth of its size."""

_CHUNK_BYTES = 2**18
_PIECE_BYTES = 2**11
"""Bytes of zstd that are unpacked at once, at most to 64 MiB."""
_MAX_WINDOW = 2**27
"""Largest amount of memory that a zstd file may demand, that of its level 22."""
PACKED = frozenset({FileForm.GZIP, FileForm.ZSTD})
_ENCODED = frozenset({*PACKED, FileForm.UTF16})


@contextmanager
def open_content(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading its text as UTF-8 bytes, whatever it is packed with.

    Raises:
        DataError: When it cannot be read (also later, while the block reads), is damaged, or
            unpacks to too much.
        MissingExtraError: For zstd without its extra.
    """
    where = str(path)
    with ExitStack() as stack:
        handle = stack.enter_context(open_regular_file(path))
        size = handle.seek(0, io.SEEK_END)
        handle.seek(0)
        form = form_of_content(handle.read(HEAD_BYTES))
        handle.seek(0)
        reader = cast(BinaryIO, handle)
        if form in PACKED:
            unpacked = stack.enter_context(_unpacked(handle, form, where))
            reader = io.BufferedReader(_Checked(unpacked, form, size, where), _CHUNK_BYTES)
            form = form_of_content(reader.peek(HEAD_BYTES)[:HEAD_BYTES])
        if form is FileForm.UTF16:
            reader = io.BufferedReader(_Transcoded(reader, where), _CHUNK_BYTES)
        yield reader


def is_encoded(form: FileForm | None) -> bool:
    """Whether the bytes on disk are not those of `open_content`."""
    return form in _ENCODED


def head_of(path: Path) -> tuple[FileForm | None, bytes]:
    """The format of the bytes on disk, and the first bytes of `open_content`.

    Raises:
        DataError: As for `open_content`.
        MissingExtraError: As for `open_content`.
    """
    with open_regular_file(path) as handle:
        head = handle.read(HEAD_BYTES)
    form = form_of_content(head)
    if not is_encoded(form):
        return form, head
    with open_content(path) as content:
        return form, content.read(HEAD_BYTES)


@contextmanager
def _unpacked(handle: IO[bytes], form: FileForm | None, where: str) -> Iterator[IO[bytes]]:
    if form is FileForm.GZIP:
        with gzip.GzipFile(fileobj=handle) as unpacked:
            yield cast(IO[bytes], unpacked)
        return
    zstandard = extras.load(MODULE_OF_ZSTD)
    yield cast(IO[bytes], _Frames(handle, zstandard, where))


class _Frames:
    """A reader of zstd. The package's own reader takes a file that is cut off for a whole one."""

    def __init__(self, handle: IO[bytes], zstandard: Any, where: str) -> None:
        self._handle = handle
        self._unpacker = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
        self._error: type[Exception] = zstandard.ZstdError
        self._where = where
        self._frame: Any = None
        """The frame that has begun."""
        self._rest = b""
        """Bytes after a frame that has ended."""

    def read(self, _size: int) -> bytes:
        """The next bytes; none at the end."""
        while True:
            packed = self._rest or self._handle.read(_PIECE_BYTES)
            self._rest = b""
            if not packed:
                if self._frame is not None:
                    raise self._damaged()
                return b""
            try:
                self._frame = self._frame or self._unpacker.decompressobj()
                data: bytes = self._frame.decompress(packed)
            except self._error:
                raise self._damaged() from None
            if self._frame.eof:
                self._rest = self._frame.unused_data
                self._frame = None
            if data:
                return data

    def _damaged(self) -> DataError:
        return DataError(say.packed_file_damaged(FileForm.ZSTD).at(self._where))


class _Checked(io.RawIOBase):
    """Unpacked bytes, counted; damage is a problem of the file."""

    def __init__(self, unpacked: Any, form: FileForm | None, size: int, where: str) -> None:
        self._unpacked = unpacked
        self._form = form
        self._ready = memoryview(b"")
        self._allowed = max(MOST_BYTES_UNQUESTIONED, size * MOST_TIMES_LARGER)
        self._where = where

    def readable(self) -> bool:
        """Always; that is all it is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as one read goes."""
        if not self._ready:
            self._ready = self._next(len(buffer))
        n_bytes = min(len(buffer), len(self._ready))
        buffer[:n_bytes] = self._ready[:n_bytes]
        self._ready = self._ready[n_bytes:]
        return n_bytes

    def _next(self, size: int) -> memoryview:
        try:
            data = self._unpacked.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            assert self._form is not None, "a packed file has a form"
            raise DataError(say.packed_file_damaged(self._form).at(self._where)) from None
        self._allowed -= len(data)
        if self._allowed < 0:
            raise DataError(say.unpacks_to_too_much(MOST_TIMES_LARGER).at(self._where))
        return memoryview(data)


class _Transcoded(io.RawIOBase):
    """UTF-16 as UTF-8."""

    def __init__(self, content: IO[bytes], where: str) -> None:
        self._content = content
        self._where = where
        self._decoder = codecs.getincrementaldecoder("utf-16")()
        self._ready = b""

    def readable(self) -> bool:
        """Always; that is all it is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as what is decoded goes."""
        while not self._ready:
            data = self._content.read(_CHUNK_BYTES)
            try:
                self._ready = self._decoder.decode(data, final=not data).encode()
            except UnicodeError:
                raise DataError(say.NOT_UTF8.at(self._where)) from None
            if not data:
                break
        n_bytes = min(len(buffer), len(self._ready))
        buffer[:n_bytes] = self._ready[:n_bytes]
        self._ready = self._ready[n_bytes:]
        return n_bytes
