"""Merging a QLoRA adapter (MENS-A540 to A559)."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem


def original_is_packed(path: str) -> Problem:
    """The base folder holds NF4 weights, so there are no others to merge onto."""
    return Problem(
        code="MENS-A540",
        what="it holds its weights in NF4; the original ones are not there.",
        fix="Merge with --onto dequant: these are the weights the adapter was trained on.",
        where=path,
    )


def subset_key_missing(path: str, layer: str, key: str, near: str | None) -> Problem:
    """The adapter names a base tensor that no file of the base has."""
    hint = f"Did it mean {clipped(near)}? " if near else ""
    return Problem(
        code="MENS-A541",
        what=f"{clipped(key)}, the tensor of layer {clipped(layer)}, is not in the base.",
        fix=f"{hint}Give the base that the adapter was trained on.",
        where=path,
    )


def subset_misshaped(path: str, key: str, found: Sequence[int], expected: Sequence[int]) -> Problem:
    """The update would only fit by repeating itself, or not at all."""
    return Problem(
        code="MENS-A542",
        what=f"{clipped(key)} is {list(found)} in the base; the update is for {list(expected)}.",
        fix="Give the base that the adapter was trained on.",
        where=path,
    )


def subset_dtype_unsupported(path: str, key: str, dtype: str) -> Problem:
    """The base tensor is not stored in 16 or 32 bits."""
    return Problem(
        code="MENS-A543",
        what=f"{clipped(key)} is stored as {clipped(dtype)}.",
        fix="Give a base in F32, BF16 or F16.",
        where=path,
    )


def subset_needs_full_base(path: str) -> Problem:
    """Rounding needs to know which layers the base has."""
    return Problem(
        code="MENS-A544",
        what="--onto dequant needs a model folder; there is no config.json.",
        fix="Give a whole folder as --base, or merge with --onto original.",
        where=path,
    )


def base_not_found(path: str) -> Problem:
    """Neither a flag nor the adapter says where the base is."""
    return Problem(
        code="MENS-A545",
        what="nothing says where its base is.",
        fix="Name the folder with --base.",
        where=path,
    )


def base_has_no_weights(path: str) -> Problem:
    """No safetensors file there."""
    return Problem(
        code="MENS-A546",
        what="there is no .safetensors file.",
        fix="Name a folder or a file of the base with --base.",
        where=path,
    )


def subset_no_format(flag: str) -> Problem:
    """A part of a model has one form."""
    return Problem(
        code="MENS-A547",
        what="a subset is always one safetensors file.",
        fix="Leave --format vox away, or leave --subset away for a whole model.",
        where=flag,
    )


def note_onto_default(onto: str) -> str:
    """Which weights were taken where the operator named none."""
    meaning = (
        "the weights the adapter was trained on" if onto == "dequant" else "the base's own weights"
    )
    return f"merged onto {onto}, {meaning}; --onto chooses."


def note_head_untied() -> str:
    """The output has a head of its own."""
    return (
        "the base's head is its embedding table; the adapter changes the head alone, so the merged"
        " model has an lm_head of its own and its config says so."
    )


def note_proxy_merged(graph: str) -> str:
    """The merged model is another graph than the one whose loss fell."""
    return (
        f"the adapter was trained in {graph}, which is no language model; nothing measured there"
        " holds for the merged model. Evaluate it before it is used."
    )
