"""Opening files of a model folder: only regular files, with a code for every failure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from vox_populi.errors import ModelError
from vox_populi.operator_messages import model_folder as say
from vox_tensor.errors import cause
from vox_tensor.regular_file import (
    FileTooLargeError,
    NotRegularFileError,
    open_regular,
    read_whole,
)


@contextmanager
def open_model_file(path: Path) -> Iterator[BufferedReader]:
    """Open a regular file for reading; links are followed, FIFOs and devices are not opened.

    Raises:
        ModelError: When it is missing, unreadable (also later, while the block reads) or not a
            regular file.
    """
    where = str(path)
    try:
        with _opened(path) as file:
            yield file
    except FileNotFoundError:
        raise ModelError(say.MODEL_FILE_MISSING.at(where)) from None
    except NotRegularFileError:
        raise ModelError(say.MODEL_FILE_NOT_REGULAR.at(where)) from None
    except OSError as error:
        raise ModelError(say.model_file_unreadable(cause(error)).at(where)) from None


def read_model_file(path: Path, max_bytes: int) -> bytes:
    """The content of a regular file.

    Raises:
        ModelError: As `open_model_file`, and for a file that has more bytes.
    """
    with open_model_file(path) as file:
        try:
            return read_whole(file, max_bytes)
        except FileTooLargeError:
            raise ModelError(say.model_file_too_large(max_bytes).at(str(path))) from None


def _opened(path: Path) -> BufferedReader:
    try:
        return open_regular(path)
    except ValueError:
        # A NUL in the path.
        reason = "the path is not usable"
        raise ModelError(say.model_file_unreadable(reason).at(str(path))) from None
