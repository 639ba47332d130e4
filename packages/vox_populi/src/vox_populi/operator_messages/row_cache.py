"""Sentences about rows that are encoded by several processes and kept on disk."""

from __future__ import annotations

import signal

from vox_populi.operator_messages.wording import clipped, gib
from vox_tensor.errors import Problem


def worker_died(status: int) -> Problem:
    """A process that encodes rows ended before its work did."""
    return Problem(
        code="MENS-E043",
        what=f"a process that encodes rows ended early: {_ending(status)}.",
        fix="Check that memory is free, then start again; --threads 1 encodes without processes.",
    )


def entry_not_removed(reason: str) -> Problem:
    """The system refuses to remove an entry of the row cache."""
    return Problem(
        code="MENS-D251",
        what=f"the encoded rows cannot be removed: {clipped(reason)}.",
        fix="Remove the folder yourself.",
    )


NO_CACHE_FOLDER = Problem(
    code="MENS-D252",
    what="this user has no cache folder.",
    fix="Pass one with --row-cache-dir.",
)
"""A user without a home, and so without a cache."""


def note_rows_not_kept(path: str, reason: str) -> str:
    """The rows of a large file are encoded by one process, at every start."""
    return (
        f"the encoded rows are not kept in {path}: {clipped(reason)}. The next start takes as long."
    )


def note_rows_kept(path: str, size: int) -> str:
    """The rows of a large file were encoded and kept."""
    return (
        f"the encoded rows are kept in {path} ({gib(size)}), so that the next start is quick;"
        " --no-row-cache turns that off."
    )


def note_entry_damaged(path: str) -> str:
    """Kept rows were not those that were written."""
    return f"the encoded rows in {path} were damaged, and were written again."


def _ending(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"{signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"
