"""Adapters of other programs: what is read from them and written for them (MENS-A06x to A08x)."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem

_MERGE = "Merge the adapter into its base (vox mens merge-weights) and ship the merged folder."
_SAVE_AGAIN = "Save the adapter again with PEFT's save_pretrained, and copy the whole folder."


def not_a_peft_folder(path: str, name: str) -> Problem:
    """One of the two files of a PEFT adapter is not there."""
    return Problem(
        code="MENS-A060",
        what=f"not a PEFT adapter folder: there is no {name}.",
        fix="Pass the folder that PEFT's save_pretrained wrote, with adapter_config.json and "
        "adapter_model.safetensors; adapters of vox mens train go with --run or --checkpoint.",
        where=path,
    )


def peft_config_invalid(path: str, reason: str) -> Problem:
    """A required field of `adapter_config.json` is missing or wrong."""
    return Problem(
        code="MENS-A061",
        what=f"it is no usable PEFT config: {clipped(reason)}.",
        fix=_SAVE_AGAIN,
        where=path,
    )


def peft_setting_unsupported(path: str, field: str, value: object, reason: str) -> Problem:
    """A setting that makes the adapter something else than one plain low-rank update."""
    return Problem(
        code="MENS-A062",
        what=f"{field} is {clipped(value)}: {reason}.",
        fix="Merge it into its base with PEFT (merge_and_unload), or train without that setting.",
        where=path,
    )


def peft_tensor_missing(path: str, name: str, near: str | None) -> Problem:
    """A module is named by the config, or half of it is there, and a tensor is not."""
    return Problem(
        code="MENS-A063",
        what=f"the tensor {clipped(name)} is missing{_nearest(near)}.",
        fix=_SAVE_AGAIN,
        where=path,
    )


def peft_tensor_unexpected(path: str, name: str, near: str | None) -> Problem:
    """A tensor that belongs to no projection of the base, or to none the config names."""
    return Problem(
        code="MENS-A064",
        what=f"the tensor {clipped(name)} belongs to no adapted projection of the base"
        f"{_nearest(near)}.",
        fix="Name the folder of the adapter's own base with --model, or save it with PEFT again.",
        where=path,
    )


def peft_tensor_misshaped(
    path: str, name: str, found: Sequence[int], expected: Sequence[int]
) -> Problem:
    """A tensor of another shape than rank and base give."""
    return Problem(
        code="MENS-A065",
        what=f"the tensor {clipped(name)} is {clipped(list(found))}, not {list(expected)}.",
        fix="Name the folder of the adapter's own base with --model, or correct r.",
        where=path,
    )


def peft_tensor_wrong_type(path: str, name: str, found: str) -> Problem:
    """Numbers that a float32 cannot hold, or no floating-point numbers."""
    return Problem(
        code="MENS-A066",
        what=f"the tensor {clipped(name)} has the dtype {clipped(found)}, not F32, BF16 or F16.",
        fix=_SAVE_AGAIN,
        where=path,
    )


def peft_targets_nothing(path: str) -> Problem:
    """An adapter without a tensor for any projection of the base."""
    return Problem(
        code="MENS-A067",
        what="target_modules names no projection of the base.",
        fix="Name the folder of the adapter's own base with --model.",
        where=path,
    )


def consumer_refuses(consumer: str, reason: str, where: str) -> Problem:
    """What is asked for cannot be expressed in the consumer's format."""
    return Problem(
        code="MENS-A070",
        what=f"{consumer} cannot take it: {reason}.",
        fix=_MERGE,
        where=where,
    )


def consumer_needs_other_form(consumer: str, form: str, where: str) -> Problem:
    """A folder of another program's layout."""
    return Problem(
        code="MENS-A071",
        what=f"{consumer} does not read {form}.",
        fix=f"Write its form with: vox mens export-adapter RUN --for {consumer} --output-dir DIR",
        where=where,
    )


def consumer_file_unsound(consumer: str, reason: str, where: str | None) -> Problem:
    """A file that the consumer reads is missing, broken or contradicts another one."""
    return Problem(
        code="MENS-A072",
        what=f"{consumer} would fail or load it wrongly: {reason}",
        fix="Export the adapter for it (vox mens export-adapter), or merge it into its base.",
        where=where,
    )


def nothing_to_lint(path: str) -> Problem:
    """Neither an adapter nor a model lies there."""
    return Problem(
        code="MENS-A073",
        what="it is neither an adapter folder nor a model folder.",
        fix="Give a folder with adapter_config.json, adapters.safetensors, or config.json with "
        "weights.",
        where=path,
    )


def exported_file_differs(path: str, name: str) -> Problem:
    """What was written does not read back as what was meant; nothing is published."""
    return Problem(
        code="MENS-A074",
        what=f"{clipped(name)} did not read back as it was written; nothing is published.",
        fix="Check the disk, then export again.",
        where=path,
    )


def export_target_exists(path: str) -> Problem:
    """An export never writes among files that are there already."""
    return Problem(
        code="MENS-A075",
        what="it exists already, and exports replace nothing.",
        fix="Name a new path.",
        where=path,
    )


def gguf_model_unsupported(path: str, reason: str) -> Problem:
    """A model that a GGUF file of its architecture cannot describe."""
    return Problem(
        code="MENS-A076",
        what=f"it cannot be written as GGUF: {reason}.",
        fix="Use llama.cpp's own convert_hf_to_gguf.py, or serve the folder as it is.",
        where=path,
    )


def gguf_value_too_large(path: str, name: str, kind: str) -> Problem:
    """A weight beyond the range of the type that was asked for."""
    return Problem(
        code="MENS-A077",
        what=f"the tensor {clipped(name)} has values that {kind} cannot hold.",
        fix="Write it with --type f32.",
        where=path,
    )


NOTE_IMPORTED_AS_IS = (
    "both files are, byte for byte, those of the folder that the adapter was imported from"
)


def note_gguf_left_out(install_line: str) -> str:
    """The file llama.cpp loads needs a package that is not there."""
    return f"adapter.gguf was left out: it needs the package gguf. Run: {install_line}"


def note_targets_not_compared() -> str:
    """A pattern is not evaluated, the tensors decide."""
    return "target_modules is a pattern, so the tensors alone say which projections are adapted."


def note_template_assumed() -> str:
    """PEFT folders do not say what text they were trained on."""
    return (
        "a PEFT folder does not name its chat template; --template and --system-prompt "
        "were taken as given."
    )


def _nearest(near: str | None) -> str:
    return "" if near is None else f"; the nearest name is {clipped(near)}"
