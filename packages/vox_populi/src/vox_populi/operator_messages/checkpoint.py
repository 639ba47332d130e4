"""Checkpoints, and going on from one (MENS-A08x, MENS-E008, MENS-R02x)."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem


def checkpoint_damaged(path: str, reason: str) -> Problem:
    """A checkpoint that does not hold what was written into it."""
    return Problem(
        code="MENS-A080",
        what=f"the checkpoint is damaged: {clipped(reason.rstrip('.'))}.",
        fix="Name another with --resume DIR, or start anew with --force-restart.",
        where=path,
    )


def checkpoint_missing(path: str) -> Problem:
    """`--resume DIR` leads to nothing that can be gone on from."""
    return Problem(
        code="MENS-A081",
        what="there is no checkpoint and no run with checkpoints.",
        fix="Name a folder such as RUN/checkpoints/step-20, or pass --resume auto.",
        where=path,
    )


def run_request_invalid(path: str, reason: str) -> Problem:
    """The record of what a run was asked for does not say what it must."""
    return Problem(
        code="MENS-A082",
        what=f"it is no usable record of a request: {clipped(reason)}.",
        fix="Start anew with --force-restart; the folder is kept under another name.",
        where=path,
    )


def finished_adapter_changed(path: str) -> Problem:
    """A finished run whose adapter is not the one its manifest names."""
    return Problem(
        code="MENS-A083",
        what="the run is finished, but this is not the adapter that its manifest names.",
        fix="Copy the run folder again, or train it anew with --force-restart.",
        where=path,
    )


def init_adapter_unfit(path: str, what: str, theirs: object, ours: object) -> Problem:
    """An adapter can be started from only where it has the same places."""
    return Problem(
        code="MENS-A084",
        what=f"its {what} is {clipped(theirs)}, this run's is {clipped(ours)}.",
        fix="Train with the settings and the base of that adapter, or leave --init-from out.",
        where=path,
    )


def output_folder_is_no_run(path: str) -> Problem:
    """`--resume` writes into a folder that is in use, so it must be a run's."""
    return Problem(
        code="MENS-E008",
        what="the output folder holds something, but no run that can be gone on with.",
        fix="Name the run's folder or a new one with --output-dir, or pass --force-restart.",
        where=path,
    )


def resume_order_differs(epoch: int) -> Problem:
    """Another shuffle would repeat some rows and leave out others."""
    return Problem(
        code="MENS-R020",
        what=f"this program puts the rows of epoch {epoch} in another order than the run did.",
        fix="Use the versions that the run was started with, or pass --force-restart.",
    )


def resume_differs(flag: str, old: object, new: object) -> Problem:
    """A run that is resumed must be the run that was started."""
    return Problem(
        code="MENS-R021",
        what=f"the run was started with {clipped(old)}, now it is {clipped(new)}.",
        fix="Put it back, or pass --force-restart: the old run is kept under another name.",
        where=flag,
    )


def resume_optimizer_differs(flag: str, old: object, new: object) -> Problem:
    """What one optimizer keeps means nothing to another."""
    return Problem(
        code="MENS-R100",
        what=f"the run was started with {flag} {clipped(old)}, not {clipped(new)}.",
        fix=f"Pass {flag} {clipped(old)}, or --force-restart to start over: the old run is "
        "kept under another name.",
        where=flag,
    )


def longer_than_complete_run(adapter: str) -> str:
    """The rate of a complete run has fallen to its end; more steps are another run."""
    return (
        "This run is complete, and its learning rate ran out with it. To train longer, start a new"
        f" run from its adapter: --init-from {adapter} with another --output-dir."
    )


def note_resumed(checkpoint: str, step: int, total: int) -> str:
    """Where a run goes on."""
    return f"going on from {checkpoint}: {step} of {total} steps are done."


def note_checkpoints_damaged(names: Sequence[str], reasons: Sequence[str]) -> str:
    """Newer checkpoints that were passed over."""
    told = "; ".join(f"{name}: {reason}" for name, reason in zip(names, reasons, strict=True))
    return f"damaged checkpoints were passed over and kept as *.damaged: {told}"


def note_nothing_to_resume() -> str:
    """`--resume auto` on a new folder, or on a run that was killed before its first checkpoint."""
    return "--resume auto: there is no checkpoint yet, so the run starts at step 0."


def note_run_complete() -> str:
    """A finished run was asked to go on."""
    return "this run is complete; nothing was changed."
