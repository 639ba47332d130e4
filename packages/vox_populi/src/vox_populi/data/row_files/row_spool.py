"""A private file of JSON Lines with the rows of a file in another format, for random access.

It takes disk, not memory, and is removed with the process; what a killed process left, by the next.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import stat
import tempfile
import time
import weakref
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

from vox_populi.data.row_files.content_stream import MOST_BYTES_UNQUESTIONED, MOST_TIMES_LARGER
from vox_populi.errors import DataError, EnvironmentFailure
from vox_populi.files.folder_lock import FolderLock, lock_holder
from vox_populi.operator_messages import row_files as say
from vox_tensor.errors import Problem, cause
from vox_tensor.jsonl import MAX_LINE_BYTES, JsonLine, jsonl_line, parse_jsonl_line

Converted = bytes | Problem
"""A row as a line of JSON, or what is wrong with it, without a place for that of the row."""

_PREFIX = "vox-mens-rows-"
_MOMENT_S = 60
_CODE_OF_SYNTAX = "MENS-D005"
_ON_DISK = Path("/var/tmp")
"""The usual place of large temporary files; that of small ones is often in memory."""


class RowSpool:
    """An empty file that is removed with this object, or with the process."""

    def __init__(self) -> None:
        folder = spool_folder(os.getpid())
        try:
            descriptor, name = tempfile.mkstemp(dir=folder, suffix=".jsonl")
        except OSError as error:
            raise EnvironmentFailure(say.no_temporary_file(cause(error))) from error
        os.close(descriptor)
        self.path = Path(name)
        self.close = weakref.finalize(self, _remove, self.path, os.getpid())


@cache
def spool_folder(owner: int) -> Path:
    """The folder of this process for spools; removes those that killed processes left.

    Args:
        owner: Number of this process: one that was forked makes its own folder.

    Raises:
        EnvironmentFailure: When it cannot be made.
    """
    try:
        parent = Path(_folder())
        for old in parent.glob(f"{_PREFIX}*"):
            if _is_ours(old) and lock_holder(old) is None:
                shutil.rmtree(old, ignore_errors=True)
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    except OSError as error:
        raise EnvironmentFailure(say.no_temporary_file(cause(error))) from error
    lock = FolderLock.acquire(path)
    atexit.register(_remove_folder, path, lock, owner)
    return path


def fill_spool(
    spool: RowSpool, rows: Iterable[Converted], *, source_bytes: int, where: str
) -> None:
    """Write rows to a spool, one per line.

    Raises:
        DataError: When the rows are far larger than their file, or reading them fails.
        EnvironmentFailure: When the disk is full.
    """
    allowed = max(MOST_BYTES_UNQUESTIONED, source_bytes * MOST_TIMES_LARGER)
    with spool.path.open("wb") as handle:
        for row in rows:
            line = row if isinstance(row, bytes) else _problem_line(row)
            if len(line) > MAX_LINE_BYTES:
                line = _problem_line(say.row_too_large(MAX_LINE_BYTES))
            allowed -= len(line)
            if allowed < 0:
                raise DataError(say.unpacks_to_too_much(MOST_TIMES_LARGER).at(where))
            _write(handle, line)
        _flush(handle)


def copy_to_spool(spool: RowSpool, content: IO[bytes]) -> None:
    """Write bytes that are JSON Lines already.

    Raises:
        DataError: When reading them fails.
        EnvironmentFailure: When the disk is full.
    """
    with spool.path.open("wb") as handle:
        while chunk := content.read(2**20):
            _write(handle, chunk)
        _flush(handle)


def converted_row(values: Mapping[str, object]) -> Converted:
    """A row as a line; a problem for a value that JSON does not have."""
    try:
        return jsonl_line(values)
    except ValueError:
        return say.VALUE_NOT_JSON
    except RecursionError:
        return say.VALUE_NOT_JSON


def parse_converted_line(raw: bytes, line: int, where: str) -> JsonLine | Problem:
    """Read a line that `fill_spool` wrote; problems are lists, which no row is."""
    if not raw.startswith(b"["):
        found = parse_jsonl_line(raw, line, where)
        is_syntax = isinstance(found, Problem) and found.code == _CODE_OF_SYNTAX
        return say.with_fix_of_row(found) if is_syntax and isinstance(found, Problem) else found
    code, what, fix, place = json.loads(raw)
    return Problem(code=code, what=what, fix=fix, where=place or f"{where}:{line}")


def _problem_line(problem: Problem) -> bytes:
    values = [problem.code, problem.what, problem.fix, problem.where]
    return json.dumps(values).encode() + b"\n"


def _folder() -> str:
    usual = tempfile.gettempdir()
    is_chosen = any(name in os.environ for name in ("TMPDIR", "TEMP", "TMP"))
    return usual if is_chosen or not os.access(_ON_DISK, os.W_OK | os.X_OK) else str(_ON_DISK)


def _write(handle: IO[bytes], data: bytes) -> None:
    try:
        handle.write(data)
    except OSError as error:
        raise EnvironmentFailure(say.no_temporary_file(cause(error))) from error


def _flush(handle: IO[bytes]) -> None:
    try:
        handle.flush()
    except OSError as error:
        raise EnvironmentFailure(say.no_temporary_file(cause(error))) from error


def _is_ours(folder: Path) -> bool:
    """Whether a folder is one of this user that was made more than a moment ago."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    is_own = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    # Between its making and its lock it looks like one that was left.
    return is_own and stat.S_ISDIR(status.st_mode) and time.time() - status.st_mtime > _MOMENT_S


def _remove(path: Path, owner: int) -> None:
    if os.getpid() == owner:
        with suppress(OSError):
            path.unlink()


def _remove_folder(path: Path, lock: FolderLock, owner: int) -> None:
    if os.getpid() == owner:
        lock.release()
        shutil.rmtree(path, ignore_errors=True)
