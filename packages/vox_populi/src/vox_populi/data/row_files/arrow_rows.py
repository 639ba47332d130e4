"""The rows of Parquet and Arrow files, a few at a time. Needs the extra `parquet`."""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Iterator
from typing import IO, Any

from vox_populi import extras
from vox_populi.data.row_files.row_spool import Converted, converted_row
from vox_populi.errors import DataError
from vox_populi.operator_messages import row_files as say
from vox_tensor.file_form import FileForm

MODULE_OF_ARROW = "pyarrow"
_ROWS_AT_ONCE = 64
_BUFFER_BYTES = 2**20


def arrow_rows(handle: IO[bytes], form: FileForm, where: str) -> Iterator[Converted]:
    """The rows of a file.

    Args:
        handle: The open file.
        form: Its format.
        where: Its name.

    Raises:
        DataError: When the file is damaged.
        MissingExtraError: Without the extra.
    """
    arrow = extras.load(MODULE_OF_ARROW)
    try:
        for batch in _batches(arrow, handle, form):
            # The library trusts what a file says of its own offsets, and reads memory by them.
            batch.validate(full=True)
            for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
                yield from _rows(batch.slice(start, _ROWS_AT_ONCE))
    except (arrow.ArrowException, OSError, MemoryError, ValueError, OverflowError):
        raise DataError(say.columns_damaged(form).at(where)) from None


def _batches(arrow: Any, handle: IO[bytes], form: FileForm) -> Iterator[Any]:
    if form is FileForm.PARQUET:
        parquet = extras.load("pyarrow.parquet")
        file = parquet.ParquetFile(handle, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        yield from file.iter_batches(_ROWS_AT_ONCE, use_threads=False)
        return
    ipc = extras.load("pyarrow.ipc")
    if form is FileForm.ARROW:
        yield from ipc.open_stream(handle)
        return
    file = ipc.open_file(handle)
    for number in range(file.num_record_batches):
        yield file.get_batch(number)


def _rows(batch: Any) -> Iterator[Converted]:
    return map(_line, batch.to_pylist(maps_as_pydicts="lossy"))


def _line(row: dict[str, object]) -> Converted:
    try:
        plain = _plain(row)
    except RecursionError:
        return say.VALUE_NOT_JSON
    assert isinstance(plain, dict), "a row has columns"
    return converted_row(plain)


def _plain(value: object) -> object:
    """A value as JSON has it.

    What a number lacks is null, as pandas writes a missing one; a moment is ISO 8601; bytes are
    text if they are UTF-8, as older writers store it, and null otherwise.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {str(key): _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case decimal.Decimal():
            number = float(value)
            return number if math.isfinite(number) else None
        case bytes():
            return _text(value)
        case datetime.date() | datetime.time():
            return value.isoformat()
    return str(value)


def _text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
