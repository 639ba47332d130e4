"""JSON files of a model folder, read so that no other parser can see another document.

Regular files only, capped in size; repeated keys, NaN and Infinity are refused.
"""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import NoReturn

from vox_populi import operator_messages as say
from vox_populi.errors import ModelError

MAX_JSON_BYTES = 64 * 1024 * 1024


class _NotStrictError(ValueError):
    """Python's parser would accept it; the message says what it is."""


@contextmanager
def open_regular(path: Path) -> Iterator[BufferedReader]:
    """Open a regular file for reading; links are followed, FIFOs and devices are not opened.

    Raises:
        ModelError: When the path is missing, unreadable or no regular file.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO waits for a writer that may never come.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ModelError(say.model_file_missing(str(path))) from None
    except (OSError, ValueError) as error:
        raise ModelError(say.model_file_unreadable(str(path), _reason(error))) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ModelError(say.model_file_not_regular(str(path)))
    with os.fdopen(descriptor, "rb") as handle:
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
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique_object,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError:
        raise ModelError(say.model_json_invalid(where, "it is not UTF-8")) from None
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at line {error.lineno} column {error.colno}"
        raise ModelError(say.model_json_invalid(where, reason)) from None
    except _NotStrictError as error:
        raise ModelError(say.model_json_invalid(where, str(error))) from None
    except RecursionError:
        raise ModelError(say.model_json_invalid(where, "it is nested too deeply")) from None
    except ValueError:
        # Python refuses integers of more than 4300 digits with a plain ValueError.
        raise ModelError(say.model_json_invalid(where, "it holds an impossible number")) from None
    if not isinstance(value, dict):
        raise ModelError(say.model_json_invalid(where, "it is not a JSON object"))
    return value


def _unique_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = Counter(key for key, _ in pairs)
        repeated = keys.most_common(1)[0][0]
        message = f"the key {say.clipped(repeated)} stands there twice"
        raise _NotStrictError(message)
    return value


def _refuse_constant(name: str) -> NoReturn:
    message = f"{name} is no JSON number"
    raise _NotStrictError(message)


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "the path is not usable"
