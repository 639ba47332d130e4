"""The files of a commit's patch, and their texts before and after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

_START = "diff --git "
_NOWHERE = "/dev/null"


@dataclass(frozen=True, slots=True)
class FilePatch:
    """What a commit changed in one file."""

    path: PurePosixPath
    lines: tuple[str, ...]
    """Lines of the patch, without the ids of the contents."""
    is_text: bool
    """Whether it has lines of the file: not for binary files, modes and empty files."""

    @property
    def changes(self) -> tuple[str, ...]:
        """The lines that were removed and added, with their marks."""
        return tuple(line for line in self._hunks() if line[:1] in ("-", "+"))

    def sides(self) -> tuple[str, str]:
        """The text before and after, where the patch has the whole file."""
        before, after = list[str](), list[str]()
        for line in self._hunks():
            mark, text = line[:1], line[1:]
            if mark in (" ", "-"):
                before.append(text)
            if mark in (" ", "+"):
                after.append(text)
        return "\n".join((*before, "")), "\n".join((*after, ""))

    def _hunks(self) -> Iterator[str]:
        start = next((i for i, line in enumerate(self.lines) if line.startswith("@@")), None)
        return iter(() if start is None else self.lines[start + 1 :])


def file_patches(lines: Sequence[str]) -> Iterator[FilePatch]:
    """Cut a patch into files; one whose name is not plain is left out."""
    starts = [i for i, line in enumerate(lines) if line.startswith(_START)]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        part = [line for line in lines[start:end] if not line.startswith("index ")]
        while part and not part[-1]:
            part.pop()
        path = _path_of(part)
        if path is not None:
            is_text = any(line.startswith("@@") for line in part)
            yield FilePatch(PurePosixPath(path), tuple(part), is_text)


def _path_of(lines: Sequence[str]) -> str | None:
    """The name of the file after the change, or before it if it was removed."""
    names = {line[:4]: line[4:].rstrip("\t") for line in lines[:8] if line[:4] in ("--- ", "+++ ")}
    for mark, prefix in (("+++ ", "b/"), ("--- ", "a/")):
        name = names.get(mark, _NOWHERE)
        if name != _NOWHERE:
            return name.removeprefix(prefix) if name.startswith(prefix) else None
    return None
