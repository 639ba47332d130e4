"""Run folders, checkpoints, and resuming from one (MENS-A08x, MENS-E008, MENS-R02x)."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem


def checkpoint_damaged(reason: str) -> Problem:
    """A checkpoint whose content is not what was written."""
    return Problem(
        code="MENS-A080",
        what=f"the checkpoint is damaged: {clipped(reason.rstrip('.'))}.",
        fix="Choose another with --resume DIR, or start over with --force-restart.",
    )


CHECKPOINT_MISSING = Problem(
    code="MENS-A081",
    what="no checkpoint found.",
    fix="Pass a folder such as RUN/checkpoints/step-20, or --resume auto.",
)
"""`--resume DIR` points to nothing that can be resumed."""


def run_request_invalid(reason: str) -> Problem:
    """The record of a run's request is not valid."""
    return Problem(
        code="MENS-A082",
        what=f"not a valid record of a request: {clipped(reason)}.",
        fix="Start over with --force-restart; the folder is kept under another name.",
    )


FINISHED_ADAPTER_CHANGED = Problem(
    code="MENS-A083",
    what="the run is finished, but its adapter does not match its manifest.",
    fix="Copy the run folder again, or train again with --force-restart.",
)
"""A finished run whose adapter does not match its manifest."""


def init_adapter_unfit(what: str, theirs: object, ours: object) -> Problem:
    """An adapter that does not fit the run that should start from it."""
    return Problem(
        code="MENS-A084",
        what=f"its {what} is {clipped(theirs)}, this run's is {clipped(ours)}.",
        fix="Train with the settings and the base of that adapter, or omit --init-from.",
    )


OUTPUT_FOLDER_IS_NO_RUN = Problem(
    code="MENS-E008",
    what="the output folder is not empty, and not a run that can be resumed.",
    fix="Pass the run's folder or a new one with --output-dir, or pass --force-restart.",
)
"""`--resume` writes into an existing folder, so it must be the folder of a run."""


def resume_order_differs(epoch: int) -> Problem:
    """A different order of rows would repeat some rows and skip others."""
    return Problem(
        code="MENS-R020",
        what=f"this version orders the rows of epoch {epoch} differently from the run.",
        fix="Use the versions the run was started with, or pass --force-restart.",
    )


def resume_differs(flag: str, old: object, new: object) -> Problem:
    """A run that is resumed must be the run that was started."""
    return Problem(
        code="MENS-R021",
        what=f"the run was started with {clipped(old)}, now it is {clipped(new)}.",
        fix="Change it back, or pass --force-restart to keep the old run under another name.",
        where=flag,
    )


def resume_optimizer_differs(flag: str, old: object, new: object) -> Problem:
    """The state of one optimizer cannot be used by another."""
    return Problem(
        code="MENS-R100",
        what=f"the run was started with {flag} {clipped(old)}, not {clipped(new)}.",
        fix=f"Pass {flag} {clipped(old)}, or --force-restart to start over: the old run is "
        "kept under another name.",
        where=flag,
    )


def longer_than_complete_run(adapter: str) -> str:
    """A complete run has used up its schedule, so more steps need a new run."""
    return (
        "This run is complete, and its learning rate schedule has ended. To train longer, start a"
        f" new run from its adapter: --init-from {adapter} with a new --output-dir."
    )


def note_resumed(checkpoint: str, step: int, total: int) -> str:
    """The checkpoint from which a run continues."""
    return f"resuming from {checkpoint}: {step} of {total} steps are done."


def note_checkpoints_damaged(names: Sequence[str], reasons: Sequence[str]) -> str:
    """Newer checkpoints that were skipped."""
    told = "; ".join(f"{name}: {reason}" for name, reason in zip(names, reasons, strict=True))
    return f"damaged checkpoints were skipped and kept as *.damaged: {told}"


NOTE_NOTHING_TO_RESUME = "--resume auto: there is no checkpoint yet, so the run starts at step 0."
"""`--resume auto` on a new folder, or on a run that was killed before its first checkpoint."""

NOTE_RUN_COMPLETE = "this run is complete; nothing was changed."
"""A finished run was resumed."""

MANIFEST_CHANGED = Problem(
    code="MENS-A111",
    what="the manifest was changed after the run wrote it: it does not match its own digest.",
    fix="Copy the run folder again from where it was written, or train it again.",
)
"""A training manifest that was changed after the run wrote it."""


def manifest_invalid(reason: str) -> Problem:
    """A manifest that is not valid."""
    return Problem(
        code="MENS-A020",
        what=f"it is not a valid training manifest: {clipped(reason)}.",
        fix="Copy the run folder again from where it was written.",
    )


def manifest_too_new(found: int, known: int) -> Problem:
    """A manifest written by a newer release."""
    return Problem(
        code="MENS-A021",
        what=f"its schema version is {found}; this program reads up to {known}.",
        fix="Upgrade Vox Mens.",
    )


NOT_A_RUN_FOLDER = Problem(
    code="MENS-A022",
    what="no run found here.",
    fix="Pass the folder that was the --output-dir of vox mens train.",
)
"""A folder without any file of a run."""

RUN_HAS_NO_ADAPTER = Problem(
    code="MENS-A023",
    what="the run has not finished: there is no final adapter.",
    fix="See its progress with: vox mens status RUN",
)
"""A run folder without its final adapter."""

RUN_FILE_NOT_REGULAR = Problem(
    code="MENS-A100",
    what="not a regular file, but a run has a file of this name.",
    fix="Move it away, or copy the run folder again from where it was written.",
)
"""A folder, pipe, socket or device in place of a run's file."""
