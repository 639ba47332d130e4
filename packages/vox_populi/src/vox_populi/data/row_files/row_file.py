"""What a file of rows is to everything that reads one, whatever format it is in.

A file is scanned once from its start, or in parts by several processes, and any row of it is read
again by its index. Memory does not grow with the text of the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from vox_tensor.errors import Problem
from vox_tensor.jsonl import LineSpan


@dataclass(frozen=True, slots=True)
class FileRow:
    """A row as it is in its file, before its layout is looked at."""

    index: int
    """Its position among all rows and lines of a `RowFile`, from 1; `RowFile.read` takes it."""
    line: int
    """Its number in its own file, from 1, as messages show it."""
    where: str
    """The text before number and colon in messages: the file, and what is counted."""
    value: dict[str, object]

    @property
    def place(self) -> str:
        """File and number, for messages."""
        return f"{self.where}:{self.line}"


class FileDigest(NamedTuple):
    """A file as records name it, without its folder."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class RowPart:
    """Some rows of a file, for a process of their own: everything `scan_part` needs."""

    held_in: Path
    """File of JSON Lines with the rows; not the one that was passed if that has another format."""
    where: str
    """The same as in `FileRow`."""
    span: LineSpan
    index_before: int = 0
    """Added to the number of a line to get the row's index."""
    is_converted: bool = False
    """Whether the lines were written by us, with problems among the rows."""


class RowFile(Protocol):
    """Rows of a file, or of several in order.

    Its content is fixed when it is opened: a change on disk gives an error or the same rows, never
    different ones.
    """

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that were passed; a problem whose place is one of them is about all of it."""
        ...

    @property
    def contents(self) -> tuple[FileDigest, ...]:
        """Name and digest of each of them."""
        ...

    @property
    def name(self) -> str:
        """Its name in messages."""
        ...

    @property
    def digest(self) -> str:
        """`sha256:` and the hash of the bytes that were passed."""
        ...

    def __len__(self) -> int:
        """Number of indices: rows, and lines in place of rows."""
        ...

    def scan(self) -> Iterator[FileRow | Problem]:
        """Every row, and a problem for each that cannot be read; a problem of a file ends it."""
        ...

    def parts(self, most: int) -> tuple[RowPart, ...]:
        """The same in up to `most` parts of about equal size, in order.

        Raises:
            DataError: When a file cannot be read.
        """
        ...

    def read(self, index: int) -> FileRow:
        """One row again.

        Raises:
            DataError: When the file changed since it was opened, or cannot be read any more.
        """
        ...

    def place(self, index: int) -> str:
        """File and number of a row, for messages."""
        ...

    def check_unchanged(self) -> None:
        """Check that nothing changed since it was opened.

        Raises:
            DataError: When bytes have changed.
        """
        ...


def is_about_file(problem: Problem, rows: RowFile) -> bool:
    """Whether a problem concerns a whole file, not a row of it."""
    return any(problem.where == str(path) for path in rows.files)


def row_places(rows: RowFile, indices: Iterable[int]) -> str:
    """Files and numbers of rows, as in `a.jsonl:3,7 b.jsonl:1`."""
    by_file: dict[str, list[str]] = {}
    for index in indices:
        where, _, number = rows.place(index).rpartition(":")
        by_file.setdefault(where, []).append(number)
    return " ".join(f"{where}:{','.join(numbers)}" for where, numbers in by_file.items())
