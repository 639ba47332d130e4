"""Merging a QLoRA adapter (MENS-A550 to A569)."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem


def original_is_packed(path: str) -> Problem:
    """The base folder has NF4 weights and no original ones to merge into."""
    return Problem(
        code="MENS-A550",
        what="its weights are stored in NF4; the original ones are not available.",
        fix="Merge with --onto dequant: these are the weights the adapter was trained on.",
        where=path,
    )


def subset_key_missing(path: str, layer: str, key: str, near: str | None) -> Problem:
    """The adapter refers to a base tensor that no file of the base has."""
    hint = f"Did it mean {clipped(near)}? " if near else ""
    return Problem(
        code="MENS-A551",
        what=f"{clipped(key)}, the tensor of layer {clipped(layer)}, is not in the base.",
        fix=f"{hint}Pass the base the adapter was trained on.",
        where=path,
    )


def subset_misshaped(path: str, key: str, found: Sequence[int], expected: Sequence[int]) -> Problem:
    """A base tensor whose shape does not match the update."""
    return Problem(
        code="MENS-A552",
        what=f"{clipped(key)} is {list(found)} in the base; the update is for {list(expected)}.",
        fix="Pass the base the adapter was trained on.",
        where=path,
    )


def subset_dtype_unsupported(path: str, key: str, dtype: str) -> Problem:
    """The base tensor is not stored in 16 or 32 bits."""
    return Problem(
        code="MENS-A553",
        what=f"{clipped(key)} is stored as {clipped(dtype)}.",
        fix="Pass a base in F32, BF16 or F16.",
        where=path,
    )


def subset_needs_full_base(path: str) -> Problem:
    """`--onto dequant` needs a config to know which layers to round."""
    return Problem(
        code="MENS-A554",
        what="--onto dequant needs a model folder; there is no config.json.",
        fix="Pass a complete folder as --base, or merge with --onto original.",
        where=path,
    )


def base_not_found(path: str) -> Problem:
    """Neither a flag nor the adapter gives the base."""
    return Problem(
        code="MENS-A555",
        what="its base was not found.",
        fix="Pass the base's folder with --base.",
        where=path,
    )


def base_has_no_weights(path: str) -> Problem:
    """A base without a safetensors file."""
    return Problem(
        code="MENS-A556",
        what="there is no .safetensors file.",
        fix="Pass a folder or a file of the base with --base.",
        where=path,
    )


def subset_no_format(flag: str) -> Problem:
    """`--subset` was combined with a format."""
    return Problem(
        code="MENS-A557",
        what="a subset is always one safetensors file.",
        fix="Omit --format vox, or omit --subset to write a whole model.",
        where=flag,
    )


def subset_key_twice(path: str, layer: str, other: str, key: str) -> Problem:
    """Two layers are mapped to one base tensor; the later sum would replace the other."""
    return Problem(
        code="MENS-A558",
        what=f"{clipped(other)} and {clipped(layer)} are both mapped to {clipped(key)}.",
        fix="Map each layer to a separate base tensor in base_key_map.",
        where=path,
    )


def subset_tensor_in_two_files(path: str, key: str, other: str) -> Problem:
    """A folder with the files of several models, or with one model twice."""
    return Problem(
        code="MENS-A559",
        what=f"both it and {clipped(other)} contain {clipped(key)}.",
        fix="Pass the right file with --base, or a folder with the files of one model.",
        where=path,
    )


def checkpoint_needs_no_sidecar(path: str) -> Problem:
    """`--meta` was passed with a checkpoint, whose adapter needs no sidecar."""
    return Problem(
        code="MENS-A560",
        what="the adapter is from a checkpoint, which has no sidecar.",
        fix="Omit --meta.",
        where=path,
    )


def no_adapter_there(path: str) -> Problem:
    """A path that does not exist, or a folder without an adapter."""
    return Problem(
        code="MENS-A561",
        what="there is no QLoRA adapter.",
        fix="Pass a candle_qlora_adapter.safetensors, or the folder of a QLoRA run or checkpoint.",
        where=path,
    )


def no_sidecar_there(path: str) -> Problem:
    """The `--meta` file does not exist."""
    return Problem(
        code="MENS-A562",
        what="there is no such file.",
        fix="Pass the adapter's sidecar with --meta, or omit --meta if it is next to the adapter.",
        where=path,
    )


def note_onto_default(onto: str) -> str:
    """The weights that are used by default."""
    meaning = (
        "the weights the adapter was trained on" if onto == "dequant" else "the base's own weights"
    )
    return f"merged with --onto {onto}, {meaning}; pass --onto to choose."


def note_head_untied() -> str:
    """The output has a separate head."""
    return (
        "the base's head is its embedding table; the adapter changes only the head, so the merged"
        " model has a separate lm_head and its config says so."
    )


def note_head_replaced() -> str:
    """The base has a separate head that training did not use."""
    return (
        "the base has a separate head, which training did not use: the adapter's head is the"
        " embedding table. The merged model's lm_head is that table plus the update; it does not"
        " contain the base's head."
    )


def note_subset_changes_table(name: str) -> str:
    """The merged head is stored under the name of the embedding table."""
    return (
        f"{name} is the embedding table plus the head's update. Loaded into a model with a tied"
        " head, it also changes the input; a merge without --subset writes an lm_head instead."
    )


def note_subset_base_unchecked() -> str:
    """Only names and shapes were compared."""
    return (
        "the base has no config.json, so it was not checked that it is the one the adapter was"
        " trained on."
    )


def note_proxy_merged(graph: str) -> str:
    """The merged model has a different graph from the one that was trained."""
    return (
        f"the adapter was trained in {graph}, which is not a language model; nothing measured there"
        " applies to the merged model. Evaluate it before you use it."
    )
