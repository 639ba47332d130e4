"""Adapters and their sidecars (MENS-A)."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.model_folder import container_foreign
from vox_populi.operator_messages.wording import (
    clipped,
)
from vox_tensor.errors import Problem, cause

FORMATS_PAGE = "docs/src/reference/adapter-formats.md"

MERGE_QLORA_REJECTS_BURN_BIN = (
    "merge-qlora takes the candle_qlora_adapter.safetensors of a QLoRA run with its sidecar, not "
    "a *.bin: a .bin holds an adapter of the LoRA backend (Burn), whose layers are the "
    "transformer's q, k, v, ..., while a Candle QLoRA adapter may have midN and lm_head. There is "
    "no automatic conversion between them"
)
"""The message of every command that needs a QLoRA adapter and gets a `.bin`."""

_BURN_BIN_FIX = (
    "Merge it with: vox mens merge-weights --checkpoint FILE --output-dir DIR (it writes "
    "model_merged.bin), or convert it explicitly if the layers correspond: "
    f"vox mens convert-adapter FILE --to v3 --output DIR. See {FORMATS_PAGE}#mens-training-ssot."
)

_WRITE_AGAIN = "Copy the adapter and its sidecars again from where they were written."

_COPY_AGAIN = "Copy the file again from where it was written, or train again."


def adapter_container_refused(found: Problem) -> Problem:
    """The container reader's finding (pickle, zip, damage) with a fix for adapters."""
    is_foreign = found.code == container_foreign("").code
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


def artifact_unreadable(error: OSError) -> Problem:
    """The system refuses to read a file of a run."""
    return Problem(
        code="MENS-A002",
        what=f"it cannot be read: {cause(error)}.",
        fix="Check its permissions and that it is a file.",
    )


def adapter_foreign_format(found: str | None) -> Problem:
    """A safetensors container that is not one of our adapters."""
    says = f"its format is {clipped(found)}" if found is not None else "it has no format"
    return Problem(
        code="MENS-A003",
        what=f"not an adapter written by vox mens train: {says}.",
        fix="Pass the model_final.bin of a run.",
    )


def adapter_version_unknown(found: str | None, known: str) -> Problem:
    """An adapter written by a newer release."""
    return Problem(
        code="MENS-A004",
        what=f"its format has version {clipped(found)}; this program reads version {known}.",
        fix="Upgrade Vox Mens, or train again.",
    )


def adapter_header_invalid(reason: str) -> Problem:
    """The header inside the container is not valid."""
    return Problem(
        code="MENS-A005",
        what=f"its header cannot be used: {clipped(reason)}.",
        fix=_COPY_AGAIN,
    )


ADAPTER_DAMAGED = Problem(
    code="MENS-A015",
    what="it was damaged or changed: its content does not match its own digest.",
    fix=_COPY_AGAIN,
)
"""A well-formed file whose content changed after it was written."""


def adapter_says_otherwise(field: str, theirs: object, ours: object) -> Problem:
    """An adapter with the right base digest whose other facts about the base are wrong."""
    return Problem(
        code="MENS-A110",
        what=f"it records {clipped(theirs)} as the base's {field}, which is {clipped(ours)}.",
        fix="Copy the adapter again from where it was trained, or use another.",
    )


def adapter_not_for_base(name: str, digest: str, found: str) -> Problem:
    """The base is not the one the adapter was trained on."""
    return Problem(
        code="MENS-A011",
        what=f"it was trained on {clipped(name)} ({clipped(digest)}), not on the model in {found}.",
        fix="Pass the folder of that base with --model (for merge-qlora: --base).",
    )


def adapter_base_unknown(name: str) -> Problem:
    """The base of an adapter cannot be found."""
    return Problem(
        code="MENS-A012",
        what=f"its base model, {clipped(name)}, was not found from here.",
        fix="Pass its folder with --model.",
    )


def adapter_modules_unknown(names: Sequence[str]) -> Problem:
    """The adapter has projections that the base does not have."""
    shown = ", ".join(names[:3])
    return Problem(
        code="MENS-A013",
        what=f"the base has no projection for {len(names)} of its modules: {clipped(shown)}.",
        fix="Pass the folder of its own base with --model (for merge-qlora: --base).",
    )


def adapter_tokenizer_differs(where: str) -> Problem:
    """The tokenizer is not the one the adapter was trained with."""
    return Problem(
        code="MENS-A014",
        what=f"it was trained with a different tokenizer from that of {where}.",
        fix="Restore the tokenizer.json of the training run, or omit --tokenizer.",
    )


def note_rows_cut_to_positions(asked: int, positions: int) -> str:
    """Rows are cut to the length of the table of learned positions."""
    return f"--seq-len {asked} is more than the {positions} positions of this model; rows are cut."


BURN_BIN_REFUSED = Problem(
    code="MENS-A501",
    what=f"{MERGE_QLORA_REJECTS_BURN_BIN}.",
    fix=_BURN_BIN_FIX,
)
"""A `.bin`, recognised by name or by its first bytes, in place of a QLoRA adapter."""


def sidecar_missing(names: Sequence[str]) -> Problem:
    """A safetensors file without the sidecar that has its layers and scale."""
    return Problem(
        code="MENS-A502",
        what=f"there is no sidecar next to it: none of {', '.join(names)}.",
        fix="Copy the sidecar from the run folder, or pass it with --meta.",
    )


def sidecar_format_unknown(found: object, known: Sequence[str]) -> Problem:
    """A JSON file that is not an adapter's sidecar."""
    said = "it has no format" if found is None else f"its format is {clipped(found)}"
    return Problem(
        code="MENS-A503",
        what=f"not an adapter's sidecar: {said}.",
        fix=f"Pass a file whose format is one of {', '.join(known)}.",
    )


def sidecar_invalid(reason: str) -> Problem:
    """A field of a sidecar is missing or wrong, or two of them contradict each other."""
    return Problem(
        code="MENS-A504",
        what=f"not a valid sidecar: {clipped(reason)}.",
        fix=_WRITE_AGAIN,
    )


def form_tensor_twice(name: str) -> Problem:
    """A tensor that occurs under both of its names."""
    return Problem(
        code="MENS-A508",
        what=f"the tensor {clipped(name)} occurs twice, with and without .weight.",
        fix="Write the file again with only one of them.",
    )


def sidecars_differ(other: str, fields: Sequence[str]) -> Problem:
    """Two sidecars of one adapter that describe different adapters."""
    return Problem(
        code="MENS-A509",
        what=f"it contradicts {other} in {', '.join(fields)}.",
        fix="Remove the one that is wrong, or pass the right one with --meta.",
    )


HEAD_MAPPING_MISSING = Problem(
    code="MENS-A510",
    what="its base_key_map does not map lm_head.",
    fix=_WRITE_AGAIN,
)
"""A file of the source system without the head, which its merge requires."""


def families_mixed(families: Sequence[str]) -> Problem:
    """Base keys of more than one model family in one adapter."""
    return Problem(
        code="MENS-A511",
        what=f"its base keys mix model families: {', '.join(families)}.",
        fix=_WRITE_AGAIN,
    )


def form_is_not_qlora(method: str, base_quant: str) -> Problem:
    """A version 3 manifest of an adapter trained on an unquantised base."""
    return Problem(
        code="MENS-A512",
        what=f"its method is {method} on base_quant {base_quant}, not qlora on nf4.",
        fix="Convert it to a .bin (vox mens convert-adapter DIR --to lora-bin --output FILE) and "
        "merge that with vox mens merge-weights.",
    )


def quantised_adapter_refused(graph: str) -> Problem:
    """An adapter trained on rounded weights was passed to `merge-weights`."""
    return Problem(
        code="MENS-A513",
        what=f"this is a QLoRA adapter: trained in the graph {graph} on NF4 weights, not on the "
        "base as stored.",
        fix="Merge it with vox mens merge-qlora, where --onto chooses the weights.",
    )


def form_container_refused(found: Problem) -> Problem:
    """The container reader's finding with a fix for QLoRA adapters."""
    return Problem(
        code="MENS-A525",
        what=found.what,
        fix="Pass the candle_qlora_adapter.safetensors of a QLoRA run with its sidecar, or copy "
        "both again from there.",
        where=found.where,
    )


NO_ADAPTER_THERE = Problem(
    code="MENS-A561",
    what="there is no QLoRA adapter.",
    fix="Pass a candle_qlora_adapter.safetensors, or the folder of a QLoRA run or checkpoint.",
)
"""A path that does not exist, or a folder without an adapter."""

NO_SIDECAR_THERE = Problem(
    code="MENS-A562",
    what="there is no such file.",
    fix="Pass the adapter's sidecar with --meta, or omit --meta if it is next to the adapter.",
)
"""The `--meta` file does not exist."""
