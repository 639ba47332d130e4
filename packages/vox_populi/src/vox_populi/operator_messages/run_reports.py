"""Following, listing, comparing and reporting runs (MENS-R10x)."""

from __future__ import annotations

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem


def followed_run_failed(reason: str) -> Problem:
    """The run that was being followed failed."""
    return Problem(
        code="MENS-R101",
        what=f"the run failed: {clipped(reason.rstrip('.'))}.",
        fix="Remove the cause, then repeat the command with --resume auto.",
    )


FOLLOWED_RUN_GONE = Problem(
    code="MENS-R102",
    what="the run ended without a word: it was killed, or the machine was restarted.",
    fix="Resume it: repeat the command with --resume auto.",
)
"""The run that was being followed ended without a record, as after `kill -9`."""


def followed_run_stopped(step: int) -> Problem:
    """The run that was being followed was stopped by a signal."""
    return Problem(
        code="MENS-R103",
        what=f"the run was stopped after step {step}.",
        fix="Resume it: repeat the command with --resume auto.",
    )


NO_RUNS_FOUND = Problem(
    code="MENS-R104",
    what="no run found in this folder or the folders in it.",
    fix="Pass a folder that holds the output folders of vox mens train.",
)
"""A folder without any run."""

SAME_RUN_TWICE = Problem(
    code="MENS-R105",
    what="this run was passed twice.",
    fix="Pass each run once.",
)
"""A comparison of a run with itself."""


TOO_FEW_RUNS = Problem(
    code="MENS-R106",
    what="a comparison needs at least two runs.",
    fix="Pass the folders of two or more runs: vox mens compare RUN RUN",
)
"""A comparison needs two runs."""


def note_heldout_differs(reasons: str) -> str:
    """Held-out losses of different rows."""
    return (
        f"the held-out losses cannot be compared: these differ: {reasons}."
        " vox mens eval measures both runs on the same rows."
    )


SAMPLES_INVALID = Problem(
    code="MENS-R107",
    what="not a valid file of sample answers.",
    fix="Move it elsewhere; the run does not need it.",
)
"""A file of samples that is not valid."""

NOTE_NO_ROWS_TO_SAMPLE = "--samples has no effect: no rows are held out."
NOTE_PROXY_HAS_NO_SAMPLES = "--samples has no effect: the proxy graph writes no text."
