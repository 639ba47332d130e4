"""Merging an adapter into its base, whole or a subset (MENS-A040 to A059, A55x, E020 to E029)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem

MERGE_ADAPTER_IS_NO_OP = Problem(
    code="MENS-A040",
    what="it changes nothing: every B (or A) is zero.",
    fix="Train it first; a merge would be a copy of the base.",
)
"""Every update of the adapter is zero, as before the first training step."""

MERGE_ADAPTER_WITHOUT_MODULES = Problem(
    code="MENS-A041",
    what="it adapts no projections.",
    fix="Pass the model_final.bin of a finished run.",
)
"""An adapter without projections."""


def merge_changed_nothing(dtype: str) -> Problem:
    """The update is smaller than half a unit of the base's number type, everywhere."""
    return Problem(
        code="MENS-A042",
        what=f"no weight changed: rounding to {dtype} removes the whole update.",
        fix="Train longer, or merge into a base stored in float32.",
    )


def merge_not_finite(name: str, dtype: str) -> Problem:
    """The base has NaN or infinities, or the sum does not fit the number type."""
    return Problem(
        code="MENS-A044",
        what=f"the merged tensor {clipped(name)} has values that are not finite in {dtype}.",
        fix="Check the base's weights; a sum beyond float16 needs a bfloat16 or float32 base.",
    )


def merge_differs_from_adapter(found: str, allowed: str) -> Problem:
    """The merged files do not compute the same as base and adapter."""
    return Problem(
        code="MENS-A045",
        what=f"merged and adapted logits differ by {found}, more than the allowed {allowed};"
        " nothing was published.",
        fix="Serve the adapter unmerged, or merge into a base stored in float32.",
    )


def merge_into_static_attention_refused(model_type: str) -> Problem:
    """`torch.nn.MultiheadAttention` does not support rotated queries and keys."""
    return Problem(
        code="MENS-A047",
        what=f"{clipped(model_type)} rotates queries and keys (RoPE), which"
        " torch.nn.MultiheadAttention cannot do.",
        fix="Use the merged folder as it is; only GPT-2 attention can be written this way.",
    )


def merged_file_invalid(reason: str) -> Problem:
    """A `model_merged.bin` that is not valid."""
    return Problem(
        code="MENS-A048",
        what=f"not a valid merged model: {clipped(reason)}.",
        fix="Copy it again from where it was written, or merge again.",
    )


def merged_file_version_unknown(found: str | None, known: str) -> Problem:
    """A merged file written by a newer release."""
    return Problem(
        code="MENS-A049",
        what=f"its format has version {clipped(found)}; this program reads version {known}.",
        fix="Upgrade Vox Mens, or merge again.",
    )


MERGED_FILE_DAMAGED = Problem(
    code="MENS-A050",
    what="it was damaged or changed: its content does not match its own digest.",
    fix="Copy it again from where it was written, or merge again.",
)
"""A well-formed file whose content changed after it was written."""

MERGE_CHECKPOINT_IS_QLORA = Problem(
    code="MENS-A051",
    what="by its name this is a QLoRA adapter (candle_qlora); this command merges the LoRA"
    " backend's model_final.bin.",
    fix="Merge it with merge-qlora, where --onto chooses the weights.",
)
"""An adapter of the other backend, which another command merges."""


def note_merge_vocabulary(name: str) -> str:
    """The adapter was trained with a vocabulary that the base folder lacks."""
    return (
        f"the adapter was trained with the vocabulary of {name}; that tokenizer.json was written"
        " instead of the base's tokenizer files."
    )


NOTE_MERGE_WITHOUT_TOKENIZER = (
    "the base folder has no tokenizer files, so the merged folder has none."
)
"""The merged folder has no tokenizer."""


def note_merge_kept_old(name: str) -> str:
    """The new name of the folder that `--force` moved."""
    return f"the old folder is now {name}."


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFigures:
    """Results of a merged model on rows formatted as in training."""

    learned: int
    """Number of learned positions."""
    agreement: float
    """Share of them at which it picks the adapter's token."""
    changed: int
    """Positions at which the adapter and the base pick different tokens."""
    kept_changes: float | None
    """Share of those at which the merged model picks the adapter's token."""
    gain_kept: float | None
    """Share of the adapter's gain in loss."""
    losses: tuple[float, float, float]
    """Losses of base, adapter and merged model."""
    least: tuple[float, float, float]
    """Thresholds for agreement, kept changes and gain, as shares."""

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


def merge_loses_training(dtype: str, figures: RowFigures) -> Problem:
    """Rounding, or a different base, loses what the adapter learned."""
    return Problem(
        code="MENS-A085",
        what=f"merged into {dtype}, the model loses what was trained. Of {figures.learned} learned"
        f" positions it picks the adapter's token at {figures}. Nothing was published.",
        fix="Omit --dtype to get a number type that keeps it, or train longer or at a higher rate;"
        " after QLoRA, merge with --onto dequant.",
    )


def subset_has_one_type(flag: str) -> Problem:
    """`--subset` was combined with a number type."""
    return Problem(
        code="MENS-A086",
        what=f"{flag} does not apply to --subset, which always writes float32.",
        fix=f"Omit {flag}, or omit --subset.",
    )


def note_wider_type(written: str, passed_over: str) -> str:
    """`auto` had to choose a wider number type than the base's."""
    return (
        f"written in {written}: rounding to {passed_over} removes the update and with it what was"
        " trained (merge_receipt.json has the figures)."
    )


NOTE_NO_CHECK_ROWS = (
    "no check_rows.json of the adapter's run: the merge was compared with the adapter on fixed"
    " token ids only, not on text formatted as in training."
)
"""The adapter has no check rows, so a merge checks less."""


def note_update_rounded(dtype: str, share: float) -> str:
    """There are no check rows to tell whether the lost part matters."""
    return (
        f"rounding to {dtype} changes the update by {_percent(share)} of its size; --dtype f16 or"
        " f32 keeps more of it."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


ORIGINAL_IS_PACKED = Problem(
    code="MENS-A550",
    what="its weights are stored in NF4; the original ones are not available.",
    fix="Merge with --onto dequant: these are the weights the adapter was trained on.",
)
"""The base folder has NF4 weights and no original ones to merge into."""


def subset_key_missing(layer: str, key: str, near: str | None) -> Problem:
    """The adapter refers to a base tensor that no file of the base has."""
    hint = f"Did it mean {clipped(near)}? " if near else ""
    return Problem(
        code="MENS-A551",
        what=f"{clipped(key)}, the tensor of layer {clipped(layer)}, is not in the base.",
        fix=f"{hint}Pass the base the adapter was trained on.",
    )


def subset_misshaped(key: str, found: Sequence[int], expected: Sequence[int]) -> Problem:
    """A base tensor whose shape does not match the update."""
    return Problem(
        code="MENS-A552",
        what=f"{clipped(key)} is {list(found)} in the base; the update is for {list(expected)}.",
        fix="Pass the base the adapter was trained on.",
    )


def subset_dtype_unsupported(key: str, dtype: str) -> Problem:
    """The base tensor is not stored in 16 or 32 bits."""
    return Problem(
        code="MENS-A553",
        what=f"{clipped(key)} is stored as {clipped(dtype)}.",
        fix="Pass a base in F32, BF16 or F16.",
    )


SUBSET_NEEDS_FULL_BASE = Problem(
    code="MENS-A554",
    what="--onto dequant needs a model folder; there is no config.json.",
    fix="Pass a complete folder as --base, or merge with --onto original.",
)
"""`--onto dequant` needs a config to know which layers to round."""

BASE_NOT_FOUND = Problem(
    code="MENS-A555",
    what="its base was not found.",
    fix="Pass the base's folder with --base.",
)
"""Neither a flag nor the adapter gives the base."""

BASE_HAS_NO_WEIGHTS = Problem(
    code="MENS-A556",
    what="there is no .safetensors file.",
    fix="Pass a folder or a file of the base with --base.",
)
"""A base without a safetensors file."""

SUBSET_NO_FORMAT = Problem(
    code="MENS-A557",
    what="a subset is always one safetensors file.",
    fix="Omit --format vox, or omit --subset to write a whole model.",
)
"""`--subset` was combined with a format."""


def subset_key_twice(layer: str, other: str, key: str) -> Problem:
    """Two layers are mapped to one base tensor; the later sum would replace the other."""
    return Problem(
        code="MENS-A558",
        what=f"{clipped(other)} and {clipped(layer)} are both mapped to {clipped(key)}.",
        fix="Map each layer to a separate base tensor in base_key_map.",
    )


def subset_tensor_in_two_files(key: str, other: str) -> Problem:
    """A folder with the files of several models, or with one model twice."""
    return Problem(
        code="MENS-A559",
        what=f"both it and {clipped(other)} contain {clipped(key)}.",
        fix="Pass the right file with --base, or a folder with the files of one model.",
    )


CHECKPOINT_NEEDS_NO_SIDECAR = Problem(
    code="MENS-A560",
    what="the adapter is from a checkpoint, which has no sidecar.",
    fix="Omit --meta.",
)
"""`--meta` was passed with a checkpoint, whose adapter needs no sidecar."""


def note_onto_default(onto: str) -> str:
    """The weights that are used by default."""
    meaning = (
        "the weights the adapter was trained on" if onto == "dequant" else "the base's own weights"
    )
    return f"merged with --onto {onto}, {meaning}; pass --onto to choose."


NOTE_HEAD_UNTIED = (
    "the base's head is its embedding table; the adapter changes only the head, so the merged"
    " model has a separate lm_head and its config says so."
)
"""The output has a separate head."""

NOTE_HEAD_REPLACED = (
    "the base has a separate head, which training did not use: the adapter's head is the"
    " embedding table. The merged model's lm_head is that table plus the update; it does not"
    " contain the base's head."
)
"""The base has a separate head that training did not use."""


def note_subset_changes_table(name: str) -> str:
    """The merged head is stored under the name of the embedding table."""
    return (
        f"{name} is the embedding table plus the head's update. Loaded into a model with a tied"
        " head, it also changes the input; a merge without --subset writes an lm_head instead."
    )


NOTE_SUBSET_BASE_UNCHECKED = (
    "the base has no config.json, so it was not checked that it is the one the adapter was"
    " trained on."
)
"""Only names and shapes were compared."""


def note_proxy_merged(graph: str) -> str:
    """The merged model has a different graph from the one that was trained."""
    return (
        f"the adapter was trained in {graph}, which is not a language model; nothing measured there"
        " applies to the merged model. Evaluate it before you use it."
    )


def receipt_unusable(reason: str) -> Problem:
    """The receipt of a merged folder does not record how its text was formatted."""
    return Problem(
        code="MENS-A031",
        what=f"not a valid merge receipt: {clipped(reason)}.",
        fix="Merge again, or restore the receipt that the merge wrote.",
    )
