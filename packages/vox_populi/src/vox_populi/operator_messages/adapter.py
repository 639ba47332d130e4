"""Adapters and other artifacts (MENS-A)."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.model_folder import container_foreign
from vox_populi.operator_messages.wording import cause, clipped
from vox_tensor.errors import Problem

_COPY_AGAIN = "Copy the file again from where it was written, or train again."


def adapter_container_refused(found: Problem) -> Problem:
    """The container reader's finding (pickle, zip, damage) with a fix for adapters."""
    is_foreign = found.code == container_foreign("", "").code
    convert = "safetensors.torch.save_file(torch.load(FILE, weights_only=True), NEW_FILE)"
    return Problem(
        code="MENS-A001",
        what=found.what,
        fix=f"Pass the final adapter of a run, or convert it where it was made: {convert}"
        if is_foreign
        else "Pass the final adapter of a run (model_final.bin, or the .safetensors of a QLoRA"
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
    """A safetensors container that is not one of our adapters."""
    says = f"its format is {clipped(found)}" if found is not None else "it has no format"
    return Problem(
        code="MENS-A003",
        what=f"not an adapter written by vox mens train: {says}.",
        fix="Pass the model_final.bin of a run.",
        where=path,
    )


def adapter_version_unknown(path: str, found: str | None, known: str) -> Problem:
    """An adapter written by a newer release."""
    return Problem(
        code="MENS-A004",
        what=f"its format has version {clipped(found)}; this program reads version {known}.",
        fix="Upgrade Vox Mens, or train again.",
        where=path,
    )


def adapter_header_invalid(path: str, reason: str) -> Problem:
    """The header inside the container is not valid."""
    return Problem(
        code="MENS-A005",
        what=f"its header cannot be used: {clipped(reason)}.",
        fix=_COPY_AGAIN,
        where=path,
    )


def adapter_tensor_missing(path: str, name: str) -> Problem:
    """The header lists a tensor that is missing."""
    return Problem(
        code="MENS-A006",
        what=f"the tensor {clipped(name)} is missing.",
        fix=_COPY_AGAIN,
        where=path,
    )


def adapter_tensor_unexpected(path: str, name: str) -> Problem:
    """A tensor that the header does not list."""
    return Problem(
        code="MENS-A007",
        what=f"the tensor {clipped(name)} is not in its header.",
        fix=_COPY_AGAIN,
        where=path,
    )


def adapter_tensor_misshaped(
    path: str, name: str, found: Sequence[int], expected: Sequence[int]
) -> Problem:
    """A tensor whose shape does not follow from rank and layer."""
    return Problem(
        code="MENS-A008",
        what=f"the tensor {clipped(name)} is {clipped(list(found))}, not {list(expected)}.",
        fix=_COPY_AGAIN,
        where=path,
    )


def adapter_tensor_wrong_type(path: str, name: str, found: str) -> Problem:
    """A tensor whose number type is not float32."""
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
        what=f"the tensor {clipped(name)} has values that are not finite.",
        fix=_COPY_AGAIN,
        where=path,
    )


def adapter_damaged(path: str) -> Problem:
    """A well-formed file whose content changed after it was written."""
    return Problem(
        code="MENS-A015",
        what="it was damaged or changed: its content does not match its own digest.",
        fix=_COPY_AGAIN,
        where=path,
    )


def adapter_says_otherwise(path: str, field: str, theirs: object, ours: object) -> Problem:
    """An adapter with the right base digest whose other facts about the base are wrong."""
    return Problem(
        code="MENS-A110",
        what=f"it records {clipped(theirs)} as the base's {field}, which is {clipped(ours)}.",
        fix="Copy the adapter again from where it was trained, or use another.",
        where=path,
    )


def adapter_not_for_base(path: str, name: str, digest: str, found: str) -> Problem:
    """The base is not the one the adapter was trained on."""
    return Problem(
        code="MENS-A011",
        what=f"it was trained on {clipped(name)} ({clipped(digest)}), not on the model in {found}.",
        fix="Pass the folder of that base with --model (for merge-qlora: --base).",
        where=path,
    )


def adapter_base_unknown(path: str, name: str) -> Problem:
    """The base of an adapter cannot be found."""
    return Problem(
        code="MENS-A012",
        what=f"its base model, {clipped(name)}, was not found from here.",
        fix="Pass its folder with --model.",
        where=path,
    )


def adapter_modules_unknown(path: str, names: Sequence[str]) -> Problem:
    """The adapter has projections that the base does not have."""
    shown = ", ".join(names[:3])
    return Problem(
        code="MENS-A013",
        what=f"the base has no projection for {len(names)} of its modules: {clipped(shown)}.",
        fix="Pass the folder of its own base with --model (for merge-qlora: --base).",
        where=path,
    )


def adapter_tokenizer_differs(path: str, where: str) -> Problem:
    """The tokenizer is not the one the adapter was trained with."""
    return Problem(
        code="MENS-A014",
        what=f"it was trained with a different tokenizer from that of {where}.",
        fix="Restore the tokenizer.json of the training run, or omit --tokenizer.",
        where=path,
    )


def manifest_changed(path: str) -> Problem:
    """A training manifest that was changed after the run wrote it."""
    return Problem(
        code="MENS-A111",
        what="the manifest was changed after the run wrote it: it does not match its own digest.",
        fix="Copy the run folder again from where it was written, or train it again.",
        where=path,
    )


def manifest_invalid(path: str, reason: str) -> Problem:
    """A manifest that is not valid."""
    return Problem(
        code="MENS-A020",
        what=f"it is not a valid training manifest: {clipped(reason)}.",
        fix="Copy the run folder again from where it was written.",
        where=path,
    )


def manifest_too_new(path: str, found: int, known: int) -> Problem:
    """A manifest written by a newer release."""
    return Problem(
        code="MENS-A021",
        what=f"its schema version is {found}; this program reads up to {known}.",
        fix="Upgrade Vox Mens.",
        where=path,
    )


def not_a_run_folder(path: str) -> Problem:
    """A folder without any file of a run."""
    return Problem(
        code="MENS-A022",
        what="no run found here.",
        fix="Pass the folder that was the --output-dir of vox mens train.",
        where=path,
    )


def run_has_no_adapter(path: str) -> Problem:
    """A run folder without its final adapter."""
    return Problem(
        code="MENS-A023",
        what="the run has not finished: there is no final adapter.",
        fix="See its progress with: vox mens status RUN",
        where=path,
    )


def run_file_not_regular(path: str) -> Problem:
    """A folder, pipe, socket or device in place of a run's file."""
    return Problem(
        code="MENS-A100",
        what="not a regular file, but a run has a file of this name.",
        fix="Move it away, or copy the run folder again from where it was written.",
        where=path,
    )


def note_rows_cut_to_positions(asked: int, positions: int) -> str:
    """Rows are cut to the length of the table of learned positions."""
    return f"--seq-len {asked} is more than the {positions} positions of this model; rows are cut."
