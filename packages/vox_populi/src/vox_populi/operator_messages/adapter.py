"""Adapters and other artifacts (MENS-A)."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.model_folder import container_foreign
from vox_populi.operator_messages.wording import cause, clipped
from vox_tensor.errors import Problem

_COPY_AGAIN = "Copy the file again from where it was written, or train again."


def adapter_container_refused(found: Problem) -> Problem:
    """What the container's reader says, with the way out for an adapter: pickles, zips, damage."""
    is_foreign = found.code == container_foreign("", "").code
    convert = "safetensors.torch.save_file(torch.load(FILE, weights_only=True), NEW_FILE)"
    return Problem(
        code="MENS-A001",
        what=found.what,
        fix=f"Give the final adapter of a run, or convert it where it was made: {convert}"
        if is_foreign
        else "Give the final adapter of a run (model_final.bin, or the .safetensors of a QLoRA"
        " run), or copy it again from there.",
        where=found.where,
    )


def artifact_unreadable(path: str, error: OSError) -> Problem:
    """The system refuses to read a file of a run."""
    return Problem(
        code="MENS-A002",
        what=f"it cannot be read: {cause(error)}.",
        fix="Check its permissions and that it is a file.",
        where=path,
    )


def adapter_foreign_format(path: str, found: str | None) -> Problem:
    """A safetensors container that is no adapter of ours."""
    says = f"its format is {clipped(found)}" if found is not None else "it names no format"
    return Problem(
        code="MENS-A003",
        what=f"it is no adapter that vox mens train wrote: {says}.",
        fix="Give the model_final.bin of a run.",
        where=path,
    )


def adapter_version_unknown(path: str, found: str | None, known: str) -> Problem:
    """Written by a release that knows more than this one."""
    return Problem(
        code="MENS-A004",
        what=f"its format has version {clipped(found)}; this program reads version {known}.",
        fix="Upgrade Vox Mens, or train again.",
        where=path,
    )


def adapter_header_invalid(path: str, reason: str) -> Problem:
    """The header inside the container does not say what it must."""
    return Problem(
        code="MENS-A005",
        what=f"its header cannot be used: {clipped(reason)}.",
        fix=_COPY_AGAIN,
        where=path,
    )


def adapter_tensor_missing(path: str, name: str) -> Problem:
    """The header promises a tensor that is not there."""
    return Problem(
        code="MENS-A006",
        what=f"the tensor {clipped(name)} is missing.",
        fix=_COPY_AGAIN,
        where=path,
    )


def adapter_tensor_unexpected(path: str, name: str) -> Problem:
    """A tensor that the header does not know."""
    return Problem(
        code="MENS-A007",
        what=f"the tensor {clipped(name)} is not in its header.",
        fix=_COPY_AGAIN,
        where=path,
    )


def adapter_tensor_misshaped(
    path: str, name: str, found: Sequence[int], expected: Sequence[int]
) -> Problem:
    """A tensor of another shape than rank and layer give."""
    return Problem(
        code="MENS-A008",
        what=f"the tensor {clipped(name)} is {clipped(list(found))}, not {list(expected)}.",
        fix=_COPY_AGAIN,
        where=path,
    )


def adapter_tensor_wrong_type(path: str, name: str, found: str) -> Problem:
    """A tensor of another number type than float32."""
    return Problem(
        code="MENS-A009",
        what=f"the tensor {clipped(name)} has the dtype {found}, not F32.",
        fix=_COPY_AGAIN,
        where=path,
    )


def adapter_not_finite(path: str, name: str) -> Problem:
    """NaN or infinity in a trained tensor."""
    return Problem(
        code="MENS-A010",
        what=f"the tensor {clipped(name)} holds values that are not finite.",
        fix=_COPY_AGAIN,
        where=path,
    )


def adapter_damaged(path: str) -> Problem:
    """A well-formed file whose content was changed after it was written."""
    return Problem(
        code="MENS-A015",
        what="it was damaged or changed: its content does not match its own digest.",
        fix=_COPY_AGAIN,
        where=path,
    )


def adapter_says_otherwise(path: str, field: str, theirs: object, ours: object) -> Problem:
    """An adapter with the digest of the right base that says something else of it."""
    return Problem(
        code="MENS-A110",
        what=f"it says that the base's {field} is {clipped(theirs)}; it is {clipped(ours)}.",
        fix="Copy the adapter again from where it was trained, or use another.",
        where=path,
    )


def adapter_not_for_base(path: str, name: str, digest: str, found: str) -> Problem:
    """The base that was found is not the one the adapter was trained on."""
    return Problem(
        code="MENS-A011",
        what=f"it was trained on {clipped(name)} ({clipped(digest)}), not on what lies in {found}.",
        fix="Name the folder of that base with --model (for merge-qlora: --base).",
        where=path,
    )


def adapter_base_unknown(path: str, name: str) -> Problem:
    """Nothing tells where the base of an adapter is."""
    return Problem(
        code="MENS-A012",
        what=f"its base model, {clipped(name)}, was not found from here.",
        fix="Name its folder with --model.",
        where=path,
    )


def adapter_modules_unknown(path: str, names: Sequence[str]) -> Problem:
    """The adapter names projections that the base does not have."""
    shown = ", ".join(names[:3])
    return Problem(
        code="MENS-A013",
        what=f"the base has no projection for {len(names)} of its modules: {clipped(shown)}.",
        fix="Name the folder of its own base with --model (for merge-qlora: --base).",
        where=path,
    )


def adapter_tokenizer_differs(path: str, where: str) -> Problem:
    """The tokenizer at hand is not the one the adapter was trained with."""
    return Problem(
        code="MENS-A014",
        what=f"it was trained with another tokenizer than that of {where}.",
        fix="Put the tokenizer.json of the training run back, or leave --tokenizer out.",
        where=path,
    )


def manifest_changed(path: str) -> Problem:
    """A training manifest that is not what the run wrote."""
    return Problem(
        code="MENS-A111",
        what="the manifest was changed after the run wrote it: it does not match its own digest.",
        fix="Copy the run folder again from where it was written, or train it again.",
        where=path,
    )


def manifest_invalid(path: str, reason: str) -> Problem:
    """A manifest that does not say what it must."""
    return Problem(
        code="MENS-A020",
        what=f"it is not a valid training manifest: {clipped(reason)}.",
        fix="Copy the run folder again from where it was written.",
        where=path,
    )


def manifest_too_new(path: str, found: int, known: int) -> Problem:
    """Written by a release that knows more than this one."""
    return Problem(
        code="MENS-A021",
        what=f"its schema version is {found}; this program reads up to {known}.",
        fix="Upgrade Vox Mens.",
        where=path,
    )


def not_a_run_folder(path: str) -> Problem:
    """None of the files of a run is there."""
    return Problem(
        code="MENS-A022",
        what="no run found here.",
        fix="Pass the folder that vox mens train had as --output-dir.",
        where=path,
    )


def run_has_no_adapter(path: str) -> Problem:
    """A run folder without its final adapter."""
    return Problem(
        code="MENS-A023",
        what="the run has not finished: there is no final adapter.",
        fix="See how far it is with: vox mens status RUN",
        where=path,
    )


def run_file_not_regular(path: str) -> Problem:
    """A folder, pipe, socket or device where a run has a file."""
    return Problem(
        code="MENS-A100",
        what="it is not a regular file, and a run has a file of this name.",
        fix="Move it away, or copy the run folder again from where it was written.",
        where=path,
    )


def note_rows_cut_to_positions(asked: int, positions: int) -> str:
    """Learned positions end where the table ends."""
    return f"--seq-len {asked} is more than the {positions} positions of this model; rows are cut."
