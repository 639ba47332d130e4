"""JSON files of a model folder, read so that no other parser can see another document.

Regular files only, capped in size; repeated keys, NaN and Infinity are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from vox_populi.errors import DataError, ModelError
from vox_populi.operator_messages import model_folder as say
from vox_tensor import regular_file
from vox_tensor.strict_json import parse_json

MAX_JSON_BYTES = 64 * 1024 * 1024


@contextmanager
def open_regular(path: Path) -> Iterator[BufferedReader]:
    """Open a regular file for reading; links are followed, FIFOs and devices are not opened.

    Raises:
        ModelError: When the path is missing, unreadable or no regular file.
    """
    try:
        handle = regular_file.open_regular(path)
    except FileNotFoundError:
        raise ModelError(say.model_file_missing(str(path))) from None
    except regular_file.NotRegularFileError:
        raise ModelError(say.model_file_not_regular(str(path))) from None
    except (OSError, ValueError) as error:
        raise ModelError(say.model_file_unreadable(str(path), _reason(error))) from None
    with handle:
        yield handle


def read_json_object(path: Path, max_bytes: int = MAX_JSON_BYTES) -> dict[str, object]:
    """Read a file that holds one JSON object.

    Raises:
        ModelError: When the file cannot be read, is too large or is no strict JSON object.
    """
    with open_regular(path) as handle:
        try:
            data = handle.read(max_bytes + 1)
        except OSError as error:
            raise ModelError(say.model_file_unreadable(str(path), _reason(error))) from None
    if len(data) > max_bytes:
        raise ModelError(say.model_file_too_large(str(path), max_bytes))
    return parse_json_object(data, str(path))


def parse_json_object(data: bytes, where: str) -> dict[str, object]:
    """Parse the bytes of one JSON object; `where` names their origin in the error.

    Raises:
        ModelError: When the bytes are no strict JSON object.
    """
    try:
        value = parse_json(data.decode("utf-8"), where)
    except UnicodeDecodeError:
        raise ModelError(say.model_json_invalid(where, "it is not UTF-8")) from None
    except DataError as error:
        reasons = "; ".join(problem.what.rstrip(".") for problem in error.problems)
        raise ModelError(say.model_json_invalid(where, reasons)) from None
    if not isinstance(value, dict):
        raise ModelError(say.model_json_invalid(where, "it is not a JSON object"))
    return value


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "the path is not usable"
