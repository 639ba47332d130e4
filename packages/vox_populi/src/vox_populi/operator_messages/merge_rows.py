"""A merge that loses what was trained (MENS-A085 to A089)."""

from __future__ import annotations

from dataclasses import dataclass

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFigures:
    """What a merged model does on rows laid out as in training."""

    learned: int
    """Positions."""
    agreement: float
    """Share of them at which it picks the adapter's token."""
    changed: int
    """Positions at which the adapter picks another token than the base."""
    kept_changes: float | None
    """Share of those at which the merged model picks the adapter's token."""
    gain_kept: float | None
    """Share of the adapter's gain in loss."""
    losses: tuple[float, float, float]
    """Of base, adapter and merged model."""
    least: tuple[float, float, float]
    """Of agreement, kept changes and gain, as shares."""

    def __str__(self) -> str:
        agreement, kept, gain = self.least
        base, adapter, merged = self.losses
        parts = [f"{_percent(self.agreement)} (at least {_percent(agreement)})"]
        if self.kept_changes is not None:
            parts.append(
                f"at {_percent(self.kept_changes)} of the {self.changed} where training changed the"
                f" choice (at least {_percent(kept)})"
            )
        losses = f"loss {base:.4f} base, {adapter:.4f} adapter, {merged:.4f} merged"
        if self.gain_kept is not None:
            losses += f": {_percent(self.gain_kept)} of the gain (at least {_percent(gain)})"
        return f"{', '.join(parts)}; {losses}"


def merge_loses_training(path: str, dtype: str, figures: RowFigures) -> Problem:
    """Rounding or another base takes away what the adapter learned."""
    return Problem(
        code="MENS-A085",
        what=f"merged into {dtype}, the model loses what was trained. Of {figures.learned} learned"
        f" positions it picks the adapter's token at {figures}. Nothing was published.",
        fix="Omit --dtype to get a number type that keeps it, or train longer or at a higher rate;"
        " after QLoRA merge onto dequant.",
        where=path,
    )


def subset_has_one_type(flag: str) -> Problem:
    """`--subset` with a number type."""
    return Problem(
        code="MENS-A086",
        what=f"{flag} does not apply to --subset, which always writes float32.",
        fix=f"Omit {flag}, or omit --subset.",
    )


def check_rows_invalid(path: str, reason: str) -> Problem:
    """The rows that a run left are damaged, or those of another run."""
    return Problem(
        code="MENS-A087",
        what=f"not the check rows of this adapter's run: {clipped(reason)}",
        fix="Copy the file from the run folder again, or delete it: the merge then proves less.",
        where=path,
    )


def note_wider_type(written: str, passed_over: str) -> str:
    """`auto` had to leave the base's number type."""
    return (
        f"written in {written}: in {passed_over} the update is rounded away, and with it what was"
        " trained (merge_receipt.json has the figures)."
    )


def note_no_check_rows() -> str:
    """The adapter comes without rows, so a merge proves less."""
    return (
        "no check_rows.json of the adapter's run: the merge was compared with the adapter on fixed"
        " token ids alone, not on text laid out as in training."
    )


def note_update_rounded(dtype: str, share: float) -> str:
    """Without rows nothing tells whether the lost part matters."""
    return (
        f"rounding to {dtype} changes the update by {_percent(share)} of its size; --dtype f16 or"
        " f32 keeps more of it."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
