"""Rows from the commits of a Git repository: a message asks, the change answers."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vox_populi.corpus.git_patch import FilePatch, file_patches
from vox_populi.corpus.git_repository import Commit, GitRepository
from vox_populi.corpus.row_metadata import CODE_LANE
from vox_populi.corpus.row_sides import LeftOut, RowSides, SideOptions, Sides
from vox_populi.corpus.source_functions import SourceFunction, body_key, functions_of
from vox_populi.corpus.source_pairs import SourcePairs, SourceReport
from vox_populi.corpus.source_places import GoldenExamples, is_archived
from vox_populi.corpus.stdlib_split import is_heldout_module, parse_source
from vox_populi.errors import DataError
from vox_populi.operator_messages import corpus_sources as say

CATEGORY = "git_commit"
MAX_MESSAGE_CHARS = 2000
MAX_CHANGE_CHARS = 6000
MIN_MESSAGE_WORDS = 3
_MAX_FILE_CHARS = 2**18
_TRAILER = re.compile(r"[A-Za-z][A-Za-z-]*-(?:by|to|id|in|for): .*|git-svn-id: .*", re.IGNORECASE)


class GitRows(StrEnum):
    """What answers the message of a commit."""

    DIFF = "diff"
    """The change as a unified diff."""
    FUNCTIONS = "functions"
    """Each changed Python function after the change; the prompt has it before."""


def build_git_pairs(
    root: Path, rows: GitRows = GitRows.DIFF, options: SideOptions | None = None
) -> SourcePairs:
    """Make rows from the history of a repository, of which nothing is run.

    Raises:
        DataError: For a folder that is not a repository, cannot be read or gives no training rows.
        EnvironmentFailure: Without the git command.
    """
    if not root.is_dir():
        raise DataError(say.NOT_A_REPOSITORY.at(str(root)))
    is_diff = rows is GitRows.DIFF
    repository = GitRepository(
        root,
        max_chars=2 * MAX_CHANGE_CHARS if is_diff else _MAX_FILE_CHARS,
        paths=() if is_diff else ("*.py",),
        whole_files=not is_diff,
    )
    builder = _Builder(root, options or SideOptions())
    for commit in repository.commits():
        builder.add(commit, rows)
    sides = builder.rows.sides()
    pairs = SourcePairs(sides.train, sides.heldout, builder.report(sides))
    if not pairs.train:
        raise DataError(say.no_commit_rows(builder.n_commits).at(str(root)))
    return pairs


class _Builder:
    """Goes through the commits once."""

    def __init__(self, root: Path, options: SideOptions) -> None:
        self.rows = RowSides(options)
        self._options = options
        self._golden = GoldenExamples(root)
        self._archived: set[str] = set()
        self._counts = Counter[str]()

    @property
    def n_commits(self) -> int:
        """Number of commits so far."""
        return self._counts["commits"]

    def add(self, commit: Commit, rows: GitRows) -> None:
        """Add the rows of a commit."""
        self._counts["commits"] += 1
        if commit.message is None or commit.patch is None:
            self.rows.leave_out(LeftOut.TOO_LONG)
            return
        message = _message(commit.message)
        if len(message.split()) < MIN_MESSAGE_WORDS:
            self.rows.leave_out(LeftOut.TOO_SHORT)
            return
        files = [file for file in file_patches(commit.patch) if self._is_wanted(file)]
        if len(message) > MAX_MESSAGE_CHARS:
            self.rows.leave_out(LeftOut.TOO_LONG)
        elif rows is GitRows.DIFF:
            self._add_diff(commit.id, message, files)
        else:
            for file in files:
                self._add_functions(commit.id, message, file)

    def report(self, sides: Sides) -> SourceReport:
        """The counts."""
        return SourceReport(
            counts={name: self._counts[name] for name in ("commits", "functions")},
            archived=len(self._archived),
            golden_rows=sides.golden_rows,
            train_rows=len(sides.train),
            heldout_rows=len(sides.heldout),
            left_out=sides.left_out,
        )

    def _is_wanted(self, file: FilePatch) -> bool:
        """Whether the patch of a file has text, and none of an archive."""
        if is_archived(file.path) and not self._options.include_archive:
            self._archived.add(file.path.as_posix())
            return False
        return file.is_text

    def _add_diff(self, commit_id: str, message: str, files: Sequence[FilePatch]) -> None:
        change = "\n".join(line for file in files for line in file.lines) + "\n"
        if not files or len(change) > MAX_CHANGE_CHARS:
            self.rows.leave_out(LeftOut.TOO_LONG if files else LeftOut.TOO_SHORT)
            return
        names = [file.path.as_posix() for file in files]
        prompt = f"Write the change that this commit message describes.\n\n{message}\n\nFiles:\n"
        self.rows.add(
            {
                "prompt": prompt + "\n".join(names),
                "response": change,
                **_metadata(commit_id, "diff", names),
            },
            # Line numbers differ where a change was made twice.
            answer=[line for file in files for line in file.changes],
            heldout=is_heldout_module(commit_id),
            golden=all(file.path in self._golden for file in files),
        )

    def _add_functions(self, commit_id: str, message: str, file: FilePatch) -> None:
        name = file.path.as_posix()
        for old, new in _changed_functions(*file.sides()):
            self._counts["functions"] += 1
            before, after = old.text(), new.text()
            if before is None or after is None or len(before) + len(after) > MAX_CHANGE_CHARS:
                self.rows.leave_out(LeftOut.TOO_LONG)
                continue
            qualname = new.function.qualname
            request = f"Change the Python function `{qualname}` as this commit message describes."
            self.rows.add(
                {
                    "prompt": f"{request}\n\n{message}\n\n```python\n{before}```",
                    "response": after,
                    **_metadata(commit_id, "function", [name]),
                },
                heldout=is_heldout_module(name),
                golden=file.path in self._golden,
            )


def _metadata(commit_id: str, kind: str, files: list[str]) -> dict[str, object]:
    return {
        "category": CATEGORY,
        "lane": CODE_LANE,
        "source": f"git:{commit_id[:12]}",
        "format": kind,
        "metadata": {"commit": commit_id, "files": files},
    }


def _message(text: str) -> str:
    """A message without trailers, which name people."""
    lines = [line.rstrip() for line in text.split("\n")]
    kept = [line for line in lines if not _TRAILER.fullmatch(line)]
    return "\n".join(kept).strip()


@dataclass(frozen=True, slots=True)
class _Version:
    """A function as it is on one side of a commit."""

    function: SourceFunction
    lines: list[str]
    """The lines of its module that it spans."""

    def text(self) -> str | None:
        """Its text at the left margin; `None` if moving it there changes it."""
        node = self.function.node
        margin = " " * node.col_offset
        text = "\n".join(line.removeprefix(margin).rstrip() for line in self.lines) + "\n"
        match parse_source(text):
            case ast.Module(body=[ast.FunctionDef() | ast.AsyncFunctionDef() as moved]):
                return text if _dumps(moved.body) == _dumps(node.body) else None
        return None


def _dumps(body: list[ast.stmt]) -> list[str]:
    return list(map(ast.dump, body))


def _changed_functions(before: str, after: str) -> Iterator[tuple[_Version, _Version]]:
    """Both versions of every function whose body differs in more than layout and comments."""
    if not before.strip():
        return
    old = {each.function.qualname: each for each in _versions(before)}
    for new in _versions(after) if old else ():
        was = old.get(new.function.qualname)
        if was is None or was.lines == new.lines:
            continue
        if body_key(was.function) != body_key(new.function):
            yield was, new


def _versions(text: str) -> list[_Version]:
    tree = parse_source(text)
    if tree is None:
        return []
    lines = text.split("\n")
    try:
        found = [(each, each.node.lineno, each.node.end_lineno) for each in functions_of(tree)]
    except RecursionError:
        return []
    return [_Version(each, lines[start - 1 : end]) for each, start, end in found]
