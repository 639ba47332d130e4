"""Following, listing, comparing and reporting runs (MENS-R10x)."""

from __future__ import annotations

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem


def followed_run_failed(path: str, reason: str) -> Problem:
    """The run that was being followed failed."""
    return Problem(
        code="MENS-R101",
        what=f"the run failed: {clipped(reason.rstrip('.'))}.",
        fix="Remove the cause, then repeat the command with --resume auto.",
        where=path,
    )


def followed_run_gone(path: str) -> Problem:
    """The run that was being followed ended without a record, as after `kill -9`."""
    return Problem(
        code="MENS-R102",
        what="the run ended without a word: it was killed, or the machine was restarted.",
        fix="Resume it: repeat the command with --resume auto.",
        where=path,
    )


def followed_run_stopped(path: str, step: int) -> Problem:
    """The run that was being followed was stopped by a signal."""
    return Problem(
        code="MENS-R103",
        what=f"the run was stopped after step {step}.",
        fix="Resume it: repeat the command with --resume auto.",
        where=path,
    )
