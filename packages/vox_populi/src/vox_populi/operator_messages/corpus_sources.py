"""Sources that corpora are made from (from MENS-D236): documents, histories, rules."""

from __future__ import annotations

from collections.abc import Sequence

from vox_tensor.errors import Problem


def legacy_rules_refused(reason: str) -> Problem:
    """A file of rules for legacy text that cannot be used."""
    return Problem(
        code="MENS-D236",
        what=f"the legacy rules cannot be used: {reason}.",
        fix="Correct the file; the page `Legacy rules` of the docs describes every key.",
    )


def pairs_source_count(given: Sequence[str], flags: Sequence[str]) -> Problem:
    """No source, or more than one."""
    what = f"{' and '.join(given)} cannot be combined." if given else "there is no source of rows."
    return Problem(
        code="MENS-D239",
        what=what,
        fix=f"Pass one of {', '.join(flags)}; vox mens corpus mix combines their rows.",
    )


DOCUMENTS_MISSING = Problem(
    code="MENS-D237",
    what="there is no such folder.",
    fix="Pass a folder of Markdown documents with --from-markdown.",
)
"""The folder of documents does not exist."""


def no_document_rows(files: int) -> Problem:
    """A folder without a section that makes a training row."""
    return Problem(
        code="MENS-D238",
        what=f"none of its {files} Markdown files gives a training row.",
        fix="Pass a folder of documents whose sections have a heading and at least 100 characters.",
    )


GIT_MISSING = Problem(
    code="MENS-D240",
    what="the command git is not installed.",
    fix="Install git, and make sure that PATH has it.",
)
"""The git command is not installed."""

NOT_A_REPOSITORY = Problem(
    code="MENS-D241",
    what="this is not a Git repository.",
    fix="Pass the folder that has .git in it, or a bare repository.",
)
"""A folder without a Git repository in it."""

REPOSITORY_LEADS_OUT = Problem(
    code="MENS-D242",
    what="the repository takes its history from outside of this folder.",
    fix="Pass the main working folder, or a clone made by git clone --no-local.",
)
"""A repository whose history is in another place, as in a linked working tree."""

REPOSITORY_WITHOUT_COMMITS = Problem(
    code="MENS-D243",
    what="the checked-out branch has no commits, or its references have an unknown format.",
    fix="Check out a branch with commits, or pass a fresh clone.",
)
"""A repository whose checked-out branch has no commit that can be found."""


def git_failed(reason: str) -> Problem:
    """A history that git cannot read."""
    return Problem(
        code="MENS-D244",
        what=f"git cannot read the history: {reason}.",
        fix="Check it with git fsck, or pass a fresh clone.",
    )


def no_commit_rows(commits: int) -> Problem:
    """A history without a commit that makes a training row."""
    return Problem(
        code="MENS-D245",
        what=f"none of its {commits} commits gives a training row.",
        fix="Pass a repository with small commits whose messages have a sentence.",
    )


def note_archives_left_out(files: int) -> str:
    """Files in archive folders, which are only read on request."""
    return f"{files:,} files of archives are left out; pass --include-archive to read them."


def note_legacy_left_out(rows: int) -> str:
    """Rows with a line that a rule marks as legacy."""
    return f"{rows:,} rows are left out as legacy; pass --include-legacy to keep them, tagged."
