"""The encoded rows of a part of a file, as files that another process reads."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from vox_populi.data.data_report import DataTally
from vox_populi.data.row_cache.columns import COLUMNS, TOKENS, PartColumns
from vox_populi.data.row_cache.entry import EntryWriter
from vox_populi.data.row_files.json_lines import scan_part
from vox_populi.data.row_files.row_file import RowPart
from vox_populi.data.row_reader import RowEncoder
from vox_populi.data.row_scan import DatasetOptions, RowScan, ScanResult
from vox_tensor.errors import Problem
from vox_tensor.regular_file import open_regular

_PROBLEMS = "problems"
_CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class PartEncoder:
    """Encodes parts of one file."""

    encoder: RowEncoder
    options: DatasetOptions
    files: tuple[str, ...]
    """Names of the file or files; see `RowScan`."""
    id_code: str

    def encode(self, part: RowPart, target: Path) -> DataTally:
        """Encode a part into files whose names begin with that of `target`; return its counts.

        Raises:
            VoxError: When the tokenizer fails on a row.
            OSError: When a file cannot be written.
        """
        columns = PartColumns(self.id_code)
        with _beside(target, _PROBLEMS).open("x", encoding="utf-8") as problems:
            scan = RowScan(
                encoder=self.encoder,
                options=self.options,
                keep=columns.append,
                fatal=_ProblemFile(problems, is_fatal=True),
                skipped=_ProblemFile(problems, is_fatal=False),
                files=frozenset(self.files),
            )
            scan.run(scan_part(part))
        for name, values in columns.columns.items():
            _beside(target, name).write_bytes(values)
        _beside(target, TOKENS).write_bytes(columns.tokens)
        return scan.tally


@dataclass(frozen=True, slots=True)
class _ProblemFile:
    """Takes problems as lines of a file, however many there are."""

    file: IO[str]
    is_fatal: bool

    def add(self, problems: Iterable[Problem], /) -> None:
        """Take problems."""
        for problem in problems:
            self.file.write(json.dumps([self.is_fatal, Problem.as_json(problem)]) + "\n")


def take_part(target: Path, entry: EntryWriter, result: ScanResult) -> None:
    """Move what `PartEncoder.encode` wrote into an entry and a result; its files are removed.

    Raises:
        OSError: When a file cannot be read or written.
    """
    for name, code in COLUMNS.items():
        path = _beside(target, name)
        values: array[Any] = array(code)
        with open_regular(path) as file:
            values.frombytes(file.read())
        entry.add_column(name, values)
        path.unlink()
    entry.add_tokens(_chunks(_beside(target, TOKENS)))
    _beside(target, TOKENS).unlink()
    problems = _beside(target, _PROBLEMS)
    with open_regular(problems) as lines:
        for line in lines:
            is_fatal, raw = json.loads(line)
            (result.fatal if is_fatal else result.skipped).add([Problem(**raw)])
    problems.unlink()


def _chunks(path: Path) -> Iterator[bytes]:
    with open_regular(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _beside(target: Path, name: str) -> Path:
    return target.with_name(f"{target.name}.{name}")
