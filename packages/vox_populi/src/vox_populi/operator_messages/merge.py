"""Merging an adapter into its base (MENS-A040 to A059, E020 to E029)."""

from __future__ import annotations

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
