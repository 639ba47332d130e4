"""Merging an adapter into its base (MENS-A040 to A059, E020 to E029)."""

from __future__ import annotations

from dataclasses import dataclass

from vox_populi.operator_messages.wording import cause, clipped
from vox_tensor.errors import Problem


def merge_adapter_is_no_op(path: str) -> Problem:
    """Every update of the adapter is zero, as before the first training step."""
    return Problem(
        code="MENS-A040",
        what="it changes nothing: every B (or A) is zero.",
        fix="Train it first; a merge would be a copy of the base.",
        where=path,
    )


def merge_adapter_without_modules(path: str) -> Problem:
    """An adapter that names no projection."""
    return Problem(
        code="MENS-A041",
        what="it adapts no projection.",
        fix="Give the model_final.bin of a finished run.",
        where=path,
    )


def merge_changed_nothing(path: str, dtype: str) -> Problem:
    """The update is smaller than half a unit of the base's number type, everywhere."""
    return Problem(
        code="MENS-A042",
        what=f"no weight changed: the update vanishes in the rounding to {dtype}.",
        fix="Train longer, or merge into a base that is stored in float32.",
        where=path,
    )


def merge_not_finite(path: str, name: str, dtype: str) -> Problem:
    """The base has NaN or infinities, or the sum does not fit the number type."""
    return Problem(
        code="MENS-A044",
        what=f"the merged tensor {clipped(name)} holds values that are not finite in {dtype}.",
        fix="Check the base's weights; a sum beyond float16 needs a bfloat16 or float32 base.",
        where=path,
    )


def merge_differs_from_adapter(path: str, found: str, allowed: str) -> Problem:
    """The merged files do not compute what base and adapter compute."""
    return Problem(
        code="MENS-A045",
        what=f"merged and adapted logits differ by {found}, allowed are {allowed};"
        " nothing was published.",
        fix="Serve the adapter unmerged, or merge into a base that is stored in float32.",
        where=path,
    )


def merge_into_static_attention_refused(model_type: str) -> Problem:
    """`torch.nn.MultiheadAttention` has no place for a rotation of queries and keys."""
    return Problem(
        code="MENS-A047",
        what=f"{clipped(model_type)} rotates queries and keys (RoPE), which"
        " torch.nn.MultiheadAttention cannot do.",
        fix="Use the merged folder as it is; only GPT-2 attention has this form.",
    )


def merged_file_invalid(path: str, reason: str) -> Problem:
    """A `model_merged.bin` that does not say what it must."""
    return Problem(
        code="MENS-A048",
        what=f"it is no usable merged model: {clipped(reason)}.",
        fix="Copy it again from where it was written, or merge again.",
        where=path,
    )


def merged_file_version_unknown(path: str, found: str | None, known: str) -> Problem:
    """Written by a release that knows more than this one."""
    return Problem(
        code="MENS-A049",
        what=f"its format has version {clipped(found)}; this program reads version {known}.",
        fix="Upgrade Vox Mens, or merge again.",
        where=path,
    )


def merged_file_damaged(path: str) -> Problem:
    """A well-formed file whose content was changed after it was written."""
    return Problem(
        code="MENS-A050",
        what="it was damaged or changed: its content does not match its own digest.",
        fix="Copy it again from where it was written, or merge again.",
        where=path,
    )


def merge_checkpoint_is_qlora(path: str) -> Problem:
    """An adapter of the other backend, which other commands merge."""
    return Problem(
        code="MENS-A051",
        what="by its name it is a QLoRA adapter (candle_qlora); this command merges the LoRA"
        " backend's model_final.bin.",
        fix="Merge it with merge-qlora, which names the base it merges onto.",
        where=path,
    )


def merge_disk_too_small(path: str, needed: int, free: int) -> Problem:
    """The merged folder would not fit beside what is there."""
    return Problem(
        code="MENS-E020",
        what=f"the merged folder takes {_gib(needed)}, {_gib(free)} are free there.",
        fix="Free some space, or name an --output-dir on another disk.",
        where=path,
    )


def folder_not_published(path: str, error: OSError) -> Problem:
    """The finished folder could not be put in its place; what was there is unchanged."""
    return Problem(
        code="MENS-E021",
        what=f"the finished folder cannot be put in place: {cause(error)}.",
        fix="Check permissions, and that nothing else writes there; then start again.",
        where=path,
    )


def note_merge_vocabulary(name: str) -> str:
    """The adapter was trained with a vocabulary that the base folder lacks."""
    return (
        f"the adapter was trained with the vocabulary of {name}; that tokenizer.json was written"
        " instead of the base's tokenizer files."
    )


def note_merge_without_tokenizer() -> str:
    """Somebody will have to bring the tokenizer."""
    return "the base folder has no tokenizer files, so the merged folder has none."


def note_merge_kept_old(name: str) -> str:
    """Where `--force` put what was there."""
    return f"the folder that was there is now {name}."


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{max(size, 1) / 2**20:.0f} MiB"


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
