"""Rows from the commits of a Git repository: a message asks, the change answers."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Sequence
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
        raise DataError(say.not_a_repository(str(root)))
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
        raise DataError(say.no_commit_rows(str(root), builder.n_commits))
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
        before, after = (_functions(text) for text in file.sides())
        name = file.path.as_posix()
        for qualname, (function, new) in after.items():
            old = before.get(qualname)
            if old is None or body_key(old[0]) == body_key(function):
                continue
            self._counts["functions"] += 1
            if new is None or old[1] is None or len(new) + len(old[1]) > MAX_CHANGE_CHARS:
                self.rows.leave_out(LeftOut.TOO_LONG)
                continue
            request = f"Change the Python function `{qualname}` as this commit message describes."
            self.rows.add(
                {
                    "prompt": f"{request}\n\n{message}\n\n```python\n{old[1]}```",
                    "response": new,
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


def _functions(text: str) -> dict[str, tuple[SourceFunction, str | None]]:
    """The functions of a module by name, with their source where it can be cut out."""
    tree = parse_source(text)
    if tree is None:
        return {}
    lines = text.split("\n")
    try:
        return {each.qualname: (each, _source(each, lines)) for each in functions_of(tree)}
    except RecursionError:
        return {}


def _source(function: SourceFunction, lines: list[str]) -> str | None:
    """The text of a function at the left margin; `None` if moving it there changes it."""
    node = function.node
    assert node.end_lineno is not None, "the parser sets it"
    margin = " " * node.col_offset
    cut = lines[node.lineno - 1 : node.end_lineno]
    text = "\n".join(line.removeprefix(margin).rstrip() for line in cut) + "\n"
    match parse_source(text):
        case ast.Module(body=[ast.FunctionDef() | ast.AsyncFunctionDef() as moved]):
            same = [ast.dump(each) for each in moved.body] == [ast.dump(each) for each in node.body]
            return text if same else None
    return None
