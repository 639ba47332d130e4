"""Adapters of versions 2 and 3, and conversions between formats (MENS-A501 to A529)."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem

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


def burn_bin_refused(path: str) -> Problem:
    """A `.bin`, recognised by name or by its first bytes, in place of a QLoRA adapter."""
    return Problem(
        code="MENS-A501",
        what=f"{MERGE_QLORA_REJECTS_BURN_BIN}.",
        fix=_BURN_BIN_FIX,
        where=path,
    )


def sidecar_missing(path: str, names: Sequence[str]) -> Problem:
    """A safetensors file without the sidecar that has its layers and scale."""
    return Problem(
        code="MENS-A502",
        what=f"there is no sidecar next to it: none of {', '.join(names)}.",
        fix="Copy the sidecar from the run folder, or pass it with --meta.",
        where=path,
    )


def sidecar_format_unknown(path: str, found: object, known: Sequence[str]) -> Problem:
    """A JSON file that is not an adapter's sidecar."""
    said = "it has no format" if found is None else f"its format is {clipped(found)}"
    return Problem(
        code="MENS-A503",
        what=f"not an adapter's sidecar: {said}.",
        fix=f"Pass a file whose format is one of {', '.join(known)}.",
        where=path,
    )


def sidecar_invalid(path: str, reason: str) -> Problem:
    """A field of a sidecar is missing or wrong, or two of them contradict each other."""
    return Problem(
        code="MENS-A504",
        what=f"not a valid sidecar: {clipped(reason)}.",
        fix=_WRITE_AGAIN,
        where=path,
    )


def form_tensor_missing(path: str, name: str, near: str | None) -> Problem:
    """The sidecar lists a layer, but one of its two tensors is missing."""
    return Problem(
        code="MENS-A505",
        what=f"the tensor {clipped(name)} is missing{_nearest(near)}.",
        fix=_WRITE_AGAIN,
        where=path,
    )


def form_tensor_unexpected(path: str, name: str, near: str | None) -> Problem:
    """A tensor of a layer that the sidecar does not list."""
    return Problem(
        code="MENS-A506",
        what=f"the tensor {clipped(name)} belongs to no layer of the sidecar{_nearest(near)}.",
        fix=_WRITE_AGAIN,
        where=path,
    )


def form_tensor_misshaped(path: str, name: str, found: Sequence[int], expected: str) -> Problem:
    """A tensor whose shape does not match rank and layer exactly; nothing is broadcast."""
    return Problem(
        code="MENS-A507",
        what=f"the tensor {clipped(name)} is {clipped(list(found))}, not {expected}.",
        fix=_WRITE_AGAIN,
        where=path,
    )


def form_tensor_twice(path: str, name: str) -> Problem:
    """A tensor that occurs under both of its names."""
    return Problem(
        code="MENS-A508",
        what=f"the tensor {clipped(name)} occurs twice, with and without .weight.",
        fix="Write the file again with only one of them.",
        where=path,
    )


def sidecars_differ(path: str, other: str, fields: Sequence[str]) -> Problem:
    """Two sidecars of one adapter that describe different adapters."""
    return Problem(
        code="MENS-A509",
        what=f"it contradicts {other} in {', '.join(fields)}.",
        fix="Remove the one that is wrong, or pass the right one with --meta.",
        where=path,
    )


def head_mapping_missing(path: str) -> Problem:
    """A file of the source system without the head, which its merge requires."""
    return Problem(
        code="MENS-A510",
        what="its base_key_map does not map lm_head.",
        fix=_WRITE_AGAIN,
        where=path,
    )


def families_mixed(path: str, families: Sequence[str]) -> Problem:
    """Base keys of more than one model family in one adapter."""
    return Problem(
        code="MENS-A511",
        what=f"its base keys mix model families: {', '.join(families)}.",
        fix=_WRITE_AGAIN,
        where=path,
    )


def form_is_not_qlora(path: str, method: str, base_quant: str) -> Problem:
    """A version 3 manifest of an adapter trained on an unquantised base."""
    return Problem(
        code="MENS-A512",
        what=f"its method is {method} on base_quant {base_quant}, not qlora on nf4.",
        fix="Convert it to a .bin (vox mens convert-adapter DIR --to lora-bin --output FILE) and "
        "merge that with vox mens merge-weights.",
        where=path,
    )


def quantised_adapter_refused(path: str, graph: str) -> Problem:
    """An adapter trained on rounded weights was passed to `merge-weights`."""
    return Problem(
        code="MENS-A513",
        what=f"this is a QLoRA adapter: trained in the graph {graph} on NF4 weights, not on the "
        "base as stored.",
        fix="Merge it with vox mens merge-qlora, where --onto chooses the weights.",
        where=path,
    )


def proxy_has_no_other_form(path: str, graph: str, target: str) -> Problem:
    """A proxy adapter, whose numbers are meaningless in the transformer."""
    return Problem(
        code="MENS-A520",
        what=f"it was trained in the graph {graph}, whose blocks are not the transformer's: as "
        f"{target} it would compute something nobody trained.",
        fix="Train with --qlora-graph full, or merge it with vox mens merge-qlora.",
        where=path,
    )


def convert_needs_base(path: str, form: str) -> Problem:
    """A format without the names and shapes of its base."""
    return Problem(
        code="MENS-A521",
        what=f"{form} alone lacks information for the conversion, and its base was not found "
        "from here.",
        fix="Pass the folder of its base with --base.",
        where=path,
    )


def convert_same_form(path: str, target: str) -> Problem:
    """The adapter already has the requested format."""
    return Problem(
        code="MENS-A522",
        what=f"it already has the format {target}.",
        fix="Copy it, or choose another format with --to.",
        where=path,
    )


def layers_unlike_base(path: str, names: Sequence[str], reason: str) -> Problem:
    """Layers of an adapter that the given base does not have."""
    shown = clipped(", ".join(names[:3]))
    return Problem(
        code="MENS-A523",
        what=f"{len(names)} of its layers do not correspond to the base: {shown}: {reason}.",
        fix="Pass the folder of its own base with --base.",
        where=path,
    )


def convert_source_unknown(path: str) -> Problem:
    """A path without an adapter in a supported format."""
    return Problem(
        code="MENS-A524",
        what="there is no adapter in a format that can be converted.",
        fix="Pass a LoRA .bin, a PEFT folder, or a candle_qlora_adapter.safetensors with its "
        "sidecar.",
        where=path,
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


NOTE_PEFT_LOSES_QUANTISATION = (
    "a PEFT folder cannot record that the adapter was trained on NF4 weights: load the base with "
    "BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type='nf4') to get the trained model"
)
NOTE_STAYS_QLORA = (
    "the header keeps the quantisation: merge-weights refuses this file and points to merge-qlora"
)
NOTE_SOURCE_QUANTISER = (
    "the source system quantised with its own NF4 variant (one scale over all block scales); the "
    "manifest records ours, so the trained base is reproduced only up to that difference"
)
NOTE_PROVENANCE_DROPPED = "a .bin cannot store the provenance; it stays in the manifest"


def note_facts_assumed(form: str) -> str:
    """Facts in our header that the other format does not have."""
    return (
        f"tokenizer, chat template and row length are not recorded in {form}: those of the base, "
        "chatml and the trainer's default were used; step and contract digest stay empty."
    )


def _nearest(near: str | None) -> str:
    return "" if near is None else f"; the closest name is {clipped(near)}"
