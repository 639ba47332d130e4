"""The training loop (MENS-R)."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.wording import clipped, row_lines
from vox_tensor.errors import Problem


def loss_not_finite(step: int, lines: Sequence[int]) -> Problem:
    """The loss of at least one row became infinite or not a number."""
    return Problem(
        code="MENS-R001",
        what=f"the loss of step {step + 1} is not finite; nothing was updated.",
        where=row_lines(lines),
        fix="Check these rows, lower --lr or raise --warmup, or train in f32 (--dtype f32).",
    )


def gradient_not_finite(step: int, lines: Sequence[int]) -> Problem:
    """The loss is a number but a gradient is not."""
    return Problem(
        code="MENS-R002",
        what=f"a gradient of step {step + 1} is not finite; nothing was updated.",
        where=row_lines(lines),
        fix="Lower --lr, raise --warmup, or train in f32 (--dtype f32).",
    )


def held_out_loss_not_finite(step: int) -> Problem:
    """The adapter of this step does not give a finite loss on the held-out rows."""
    learned = "Lower --lr, raise --warmup, or train in f32 (--dtype f32)."
    # Before the first step nothing has been learned, so the base itself is the cause.
    given = "Train in f32 (--dtype f32), or use sound weights: the base itself is the cause."
    return Problem(
        code="MENS-R003",
        what=f"the held-out loss is not finite after step {step}.",
        fix=learned if step else given,
    )


def prompt_unfit(number: int, tokens: int, most: int) -> Problem:
    """A prompt that is empty in ids, or leaves the model no position for an answer."""
    return Problem(
        code="MENS-R011",
        what=f"prompt {number} has {tokens} tokens; this model accepts 1 to {most}.",
        fix="Shorten it, or use a model with more positions.",
    )


def evaluation_not_finite(source: str, path: str) -> Problem:
    """The model does not give a finite loss on some rows."""
    return Problem(
        code="MENS-R012",
        what=f"the loss is not finite on the rows from {clipped(source)}.",
        fix="Evaluate in f32 (--dtype f32), or train again with a lower --lr.",
        where=path,
    )


def run_interrupted(signal_name: str, step: int, checkpoint: str | None) -> Problem:
    """SIGINT or SIGTERM; the run ended after a step."""
    kept = f"its state is in {checkpoint}" if checkpoint else "there was nothing to save yet"
    return Problem(
        code="MENS-R010",
        what=f"the run was stopped by {signal_name} after step {step}; {kept}.",
        fix="Resume with the same command and --resume auto.",
    )


def note_stopping() -> str:
    """The first SIGINT or SIGTERM of a run, acknowledged."""
    return "stopping after this step, with a checkpoint; press Ctrl-C again to stop immediately."


def interrupted() -> Problem:
    """Ctrl-C outside of a training run."""
    return Problem(code="MENS-R090", what="interrupted.", fix="Start the command again.")


def terminated() -> Problem:
    """SIGTERM outside of a training run."""
    return Problem(code="MENS-R091", what="terminated.", fix="Start the command again.")
