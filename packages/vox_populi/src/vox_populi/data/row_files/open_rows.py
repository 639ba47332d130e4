"""Opens a file of rows in whatever format it is, recognised by its content.

A name decides only where content cannot: between text and JSON Lines that are all broken, and
between text with commas and a table.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

from vox_populi import extras
from vox_populi.data.row_files.arrow_rows import MODULE_OF_ARROW, arrow_rows
from vox_populi.data.row_files.content_stream import PACKED, head_of, is_encoded, open_content
from vox_populi.data.row_files.foreign_files import foreign_kind, is_binary
from vox_populi.data.row_files.json_elements import json_elements
from vox_populi.data.row_files.json_lines import JsonLinesFile
from vox_populi.data.row_files.row_file import RowFile
from vox_populi.data.row_files.row_spool import Converted, RowSpool, copy_to_spool, fill_spool
from vox_populi.data.row_files.spooled_file import RowSource, SpooledFile
from vox_populi.data.row_files.table_rows import delimiter_of, has_known_keys, table_rows
from vox_populi.data.row_files.text_rows import MOST_CHARACTERS, TEXT_SUFFIXES, text_rows
from vox_populi.errors import DataError
from vox_populi.operator_messages import row_files as say
from vox_tensor.file_form import FileForm, form_of_content, form_of_name
from vox_tensor.regular_file import open_regular_file

_ARRAYS = (FileForm.JSON_ARRAY, FileForm.JSON_DOCUMENT)
_TABLES = (FileForm.CSV, FileForm.TSV)
_COLUMNS = (FileForm.PARQUET, FileForm.FEATHER, FileForm.ARROW)
_JSON_NAMES = (FileForm.JSON_LINES, FileForm.JSON_ARRAY)
_PACKED_SUFFIXES = (".gz", ".zst", ".zstd")

Conversion = Callable[[BinaryIO], Iterator[Converted]]


def open_rows(path: Path, text_chars: int = MOST_CHARACTERS) -> RowFile:
    """The rows of a file.

    Args:
        path: The file.
        text_chars: Size of a row of plain text.

    Raises:
        DataError: When it cannot be read, or holds no rows in any format that is read.
        MissingExtraError: For a format whose extra is not installed.
    """
    form, head = head_of(path)
    inner = _inner_form(path, form, head)
    where = str(path)
    if inner in _COLUMNS and inner is form:
        extras.require(MODULE_OF_ARROW)
        return _converted(path, f"{where}:row", inner, partial(_columns, path, form))
    if inner in _ARRAYS:
        convert = partial(json_elements, where=where)
        return _converted(path, f"{where}:element", inner, partial(_streamed, path, convert))
    if inner in _TABLES:
        usual = "\t" if inner is FileForm.TSV else ","
        delimiter = delimiter_of(head, default=usual)
        convert = partial(table_rows, delimiter=delimiter, where=where)
        return _converted(
            path, f"{where}:row", f"{inner} {delimiter}", partial(_streamed, path, convert)
        )
    if inner is FileForm.TEXT:
        convert = partial(text_rows, source=path.name, where=where, most_characters=text_chars)
        reading = _reading_of_text(text_chars)
        return _converted(path, f"{where}:chunk", reading, partial(_streamed, path, convert))
    return _unpacked(path) if is_encoded(form) else JsonLinesFile(path)


def _reading_of_text(text_chars: int) -> str:
    """How text is read, as part of the digest of its rows; the usual size is not named."""
    named = "" if text_chars == MOST_CHARACTERS else f" {text_chars}"
    return f"{FileForm.TEXT}{named}"


def open_text_rows(paths: Sequence[Path], text_chars: int = MOST_CHARACTERS) -> RowFile:
    """The rows of several texts, without a temporary file for each.

    Args:
        paths: The files.
        text_chars: Size of a row.

    Raises:
        DataError: When one cannot be read.
    """
    folder = Path(os.path.commonpath([path.parent for path in paths]))

    def texts() -> Iterator[Converted]:
        for path in paths:
            source = path.relative_to(folder).as_posix()
            convert = partial(text_rows, source=source, where=str(path), most_characters=text_chars)
            yield from _streamed(path, convert)

    def fill(spool: RowSpool) -> None:
        size = sum(path.stat().st_size for path in paths)
        fill_spool(spool, texts(), source_bytes=size, where=str(folder))

    name = str(folder)
    return SpooledFile(
        RowSource(
            files=tuple(paths),
            name=name,
            where=f"{name}:chunk",
            fill=fill,
            reading=_reading_of_text(text_chars),
        )
    )


def is_text_file(path: Path) -> bool:
    """Whether a file is read as text; one that cannot be read at all is not."""
    try:
        return _is_named_as_text(path) and _inner_form(path, *head_of(path)) is FileForm.TEXT
    except DataError:
        return False


def _inner_form(path: Path, form: FileForm | None, head: bytes) -> FileForm | None:
    """The format of a file's text; `None` for JSON Lines.

    Raises:
        DataError: For a file that is not read.
    """
    where = str(path)
    inner = form if form not in PACKED else form_of_content(head)
    if form in PACKED and inner in (*PACKED, *_COLUMNS):
        assert form is not None, "a packed file has a form"
        raise DataError(say.not_rows(f"{inner}, {form} once more").at(where))
    kind = foreign_kind(head)
    if kind is not None:
        raise DataError(say.not_rows(kind).at(where))
    if inner is FileForm.UTF16:
        inner = form_of_content(head)
    if inner is not None:
        is_prose = _is_named_as_text(path) and inner in _TABLES and not has_known_keys(head)
        return FileForm.TEXT if is_prose else inner
    return _form_by_name(path, head)


def _form_by_name(path: Path, head: bytes) -> FileForm | None:
    """The format of a file whose content does not tell; `None` for JSON Lines."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    named = form_of_name(_unpacked_name(path))
    if not start or start.startswith((b"{", b"[")):
        is_array = start.startswith(b"[") and named is FileForm.JSON_ARRAY
        return FileForm.JSON_ARRAY if is_array else None
    if named in _TABLES and not is_binary(head):
        return named
    if _is_named_as_text(path) and not is_binary(head):
        return FileForm.TEXT
    if named in _JSON_NAMES:
        return None
    raise DataError(say.not_rows("binary data" if is_binary(head) else "plain text").at(str(path)))


def _is_named_as_text(path: Path) -> bool:
    return _unpacked_name(path).lower().endswith(TEXT_SUFFIXES)


def _unpacked_name(path: Path) -> str:
    return path.stem if path.suffix.lower() in _PACKED_SUFFIXES else path.name


def _unpacked(path: Path) -> SpooledFile:
    """JSON Lines that are packed or in UTF-16; their places are lines, as in the text."""

    def fill(spool: RowSpool) -> None:
        with open_content(path) as content:
            copy_to_spool(spool, content)

    return SpooledFile(RowSource(files=(path,), name=str(path), where=str(path), fill=fill))


def _converted(
    path: Path, where: str, reading: str, rows: Callable[[], Iterator[Converted]]
) -> SpooledFile:
    def fill(spool: RowSpool) -> None:
        size = path.stat().st_size
        fill_spool(spool, rows(), source_bytes=size, where=str(path))

    return SpooledFile(
        RowSource(files=(path,), name=str(path), where=where, fill=fill, reading=reading)
    )


def _streamed(path: Path, convert: Conversion) -> Iterator[Converted]:
    with open_content(path) as content:
        yield from convert(content)


def _columns(path: Path, form: FileForm) -> Iterator[Converted]:
    with open_regular_file(path) as handle:
        yield from arrow_rows(handle, form, str(path))
