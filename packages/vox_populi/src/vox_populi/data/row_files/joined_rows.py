"""Several files of rows as one `RowFile`, in the given order."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import accumulate, groupby
from pathlib import Path

from vox_populi.data.row_files.open_rows import is_text_file, open_rows, open_text_rows
from vox_populi.data.row_files.row_file import FileRow, RowFile, RowPart, is_about_file
from vox_populi.data.row_files.spooled_file import joint_digest
from vox_populi.data.row_files.text_rows import MOST_CHARACTERS
from vox_populi.errors import DataError
from vox_tensor.errors import Problem


def open_all_rows(paths: Sequence[Path], text_chars: int = MOST_CHARACTERS) -> RowFile:
    """The rows of files, one after another.

    Args:
        paths: At least one.
        text_chars: Size of a row of plain text.

    Raises:
        DataError: With every file that cannot be read.
        MissingExtraError: For a format whose extra is not installed.
    """
    opened: list[RowFile] = []
    problems: list[Problem] = []
    for is_text, group in groupby(paths, key=is_text_file):
        members = tuple(group)
        together = is_text and len(members) > 1
        texts: list[Callable[[], RowFile]] = [partial(open_text_rows, members, text_chars)]
        opens = texts if together else _each(members, text_chars)
        for opening in opens:
            try:
                opened.append(opening())
            except DataError as error:
                problems += error.problems
    if problems:
        raise DataError(*problems)
    return opened[0] if len(opened) == 1 else JoinedRows(opened)


def _each(paths: Sequence[Path], text_chars: int) -> list[Callable[[], RowFile]]:
    return [partial(open_rows, path, text_chars) for path in paths]


class JoinedRows:
    """Rows of several files."""

    def __init__(self, members: Sequence[RowFile]) -> None:
        self._members = members
        self.files = tuple(path for each in members for path in each.files)
        more = "1 more file" if len(members) == 2 else f"{len(members) - 1} more files"
        self.name = f"{members[0].name} and {more}"
        self.contents = tuple(found for each in members for found in each.contents)
        self.digest = joint_digest([each.digest for each in members])

    @cached_property
    def _ends(self) -> list[int]:
        """The last index of each member."""
        return list(accumulate(map(len, self._members)))

    def __len__(self) -> int:
        return self._ends[-1]

    def scan(self) -> Iterator[FileRow | Problem]:
        """Every row of every file, and every problem; a file that breaks off does not end it."""
        before, is_broken = 0, False
        for member in self._members:
            for item in member.scan():
                if isinstance(item, FileRow):
                    yield replace(item, index=item.index + before)
                else:
                    yield item
                    is_broken = is_broken or is_about_file(item, member)
            # Once a file is broken, there will be no rows to read again.
            before += 0 if is_broken else len(member)

    def parts(self, most: int) -> tuple[RowPart, ...]:
        """The same in parts, at least one for each file.

        Raises:
            DataError: When a file cannot be read.
        """
        each = max(1, most // len(self._members))
        found: list[RowPart] = []
        for member, end in zip(self._members, self._ends, strict=True):
            before = end - len(member)
            found += [
                replace(part, index_before=part.index_before + before)
                for part in member.parts(each)
            ]
        return tuple(found)

    def read(self, index: int) -> FileRow:
        """A row.

        Raises:
            DataError: When its file changed since it was opened, or cannot be read any more.
        """
        member, before = self._member(index)
        return replace(member.read(index - before), index=index)

    def place(self, index: int) -> str:
        """File and number in it."""
        member, before = self._member(index)
        return member.place(index - before)

    def check_unchanged(self) -> None:
        """Check that no file changed since it was opened.

        Raises:
            DataError: When bytes have changed.
        """
        for member in self._members:
            member.check_unchanged()

    def _member(self, index: int) -> tuple[RowFile, int]:
        """The file of a row, and the number of indices before it."""
        number = bisect_right(self._ends, index - 1)
        return self._members[number], self._ends[number - 1] if number else 0
