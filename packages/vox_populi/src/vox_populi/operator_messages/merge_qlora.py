"""Merging a QLoRA adapter (MENS-A550 to A569)."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem


def original_is_packed(path: str) -> Problem:
    """The base folder holds NF4 weights, so there are no others to merge onto."""
    return Problem(
        code="MENS-A550",
        what="it holds its weights in NF4; the original ones are not there.",
        fix="Merge with --onto dequant: these are the weights the adapter was trained on.",
        where=path,
    )


def subset_key_missing(path: str, layer: str, key: str, near: str | None) -> Problem:
    """The adapter names a base tensor that no file of the base has."""
    hint = f"Did it mean {clipped(near)}? " if near else ""
    return Problem(
        code="MENS-A551",
        what=f"{clipped(key)}, the tensor of layer {clipped(layer)}, is not in the base.",
        fix=f"{hint}Give the base that the adapter was trained on.",
        where=path,
    )


def subset_misshaped(path: str, key: str, found: Sequence[int], expected: Sequence[int]) -> Problem:
    """The update would only fit by repeating itself, or not at all."""
    return Problem(
        code="MENS-A552",
        what=f"{clipped(key)} is {list(found)} in the base; the update is for {list(expected)}.",
        fix="Give the base that the adapter was trained on.",
        where=path,
    )


def subset_dtype_unsupported(path: str, key: str, dtype: str) -> Problem:
    """The base tensor is not stored in 16 or 32 bits."""
    return Problem(
        code="MENS-A553",
        what=f"{clipped(key)} is stored as {clipped(dtype)}.",
        fix="Give a base in F32, BF16 or F16.",
        where=path,
    )


def subset_needs_full_base(path: str) -> Problem:
    """Rounding needs to know which layers the base has."""
    return Problem(
        code="MENS-A554",
        what="--onto dequant needs a model folder; there is no config.json.",
        fix="Give a whole folder as --base, or merge with --onto original.",
        where=path,
    )


def base_not_found(path: str) -> Problem:
    """Neither a flag nor the adapter says where the base is."""
    return Problem(
        code="MENS-A555",
        what="nothing says where its base is.",
        fix="Name the folder with --base.",
        where=path,
    )


def base_has_no_weights(path: str) -> Problem:
    """No safetensors file there."""
    return Problem(
        code="MENS-A556",
        what="there is no .safetensors file.",
        fix="Name a folder or a file of the base with --base.",
        where=path,
    )


def subset_no_format(flag: str) -> Problem:
    """A part of a model has one form."""
    return Problem(
        code="MENS-A557",
        what="a subset is always one safetensors file.",
        fix="Leave --format vox away, or leave --subset away for a whole model.",
        where=flag,
    )


def subset_key_twice(path: str, layer: str, other: str, key: str) -> Problem:
    """Two layers mean one base tensor; the later sum would take the place of the other."""
    return Problem(
        code="MENS-A558",
        what=f"{clipped(other)} and {clipped(layer)} are both mapped to {clipped(key)}.",
        fix="Give each layer a base tensor of its own in base_key_map.",
        where=path,
    )


def subset_tensor_in_two_files(path: str, key: str, other: str) -> Problem:
    """Files of more than one model in a folder, or of a model that was written twice."""
    return Problem(
        code="MENS-A559",
        what=f"it holds {clipped(key)}, and so does {clipped(other)}.",
        fix="Name the one file that is meant with --base, or a folder with the files of one model.",
        where=path,
    )


def checkpoint_needs_no_sidecar(path: str) -> Problem:
    """The adapter of a checkpoint says all about itself."""
    return Problem(
        code="MENS-A560",
        what="the adapter is that of a checkpoint, which has no sidecar.",
        fix="Leave --meta away.",
        where=path,
    )


def no_adapter_there(path: str) -> Problem:
    """Nothing is there, or a folder without an adapter."""
    return Problem(
        code="MENS-A561",
        what="there is no QLoRA adapter.",
        fix="Give a candle_qlora_adapter.safetensors, or the folder of a QLoRA run or checkpoint.",
        where=path,
    )


def no_sidecar_there(path: str) -> Problem:
    """The file that `--meta` names."""
    return Problem(
        code="MENS-A562",
        what="there is no such file.",
        fix="Name the adapter's sidecar with --meta, or leave it away if it lies beside it.",
        where=path,
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


def note_head_replaced() -> str:
    """The base has a head that training did not see."""
    return (
        "the base has a head of its own, which training did not use: the adapter's head is the"
        " embedding table. The merged model's lm_head is that table with the update; the base's"
        " head is not in it."
    )


def note_subset_changes_table(name: str) -> str:
    """The sum for the head carries the name of the embedding table."""
    return (
        f"{name} is the embedding table with the update of the head. Put into a model with a tied"
        " head, it changes the input as well; a merge without --subset writes an lm_head instead."
    )


def note_subset_base_unchecked() -> str:
    """Names and shapes were compared, and nothing else."""
    return (
        "the base is a file without a config.json: that it is the one the adapter was trained on"
        " was not checked."
    )


def note_proxy_merged(graph: str) -> str:
    """The merged model is another graph than the one whose loss fell."""
    return (
        f"the adapter was trained in {graph}, which is no language model; nothing measured there"
        " holds for the merged model. Evaluate it before it is used."
    )
