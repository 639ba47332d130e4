"""Adapters of version 2 and 3, and the ways from one form to another (MENS-A501 to A529)."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem

FORMATS_PAGE = "docs/src/reference/adapter-formats.md"

MERGE_QLORA_REJECTS_BURN_BIN = (
    "merge-qlora takes the candle_qlora_adapter.safetensors of a QLoRA run with its sidecar, and "
    "no *.bin: a .bin holds an adapter of the LoRA backend (Burn), whose layers are the "
    "transformer's q, k, v, ..., while a Candle QLoRA adapter may name midN and lm_head. There is "
    "no automatic conversion between them"
)
"""What every command says that is given a `.bin` where it needs a QLoRA adapter."""

_BURN_BIN_FIX = (
    "Merge it with: vox mens merge-weights --checkpoint FILE --output-dir DIR (it writes "
    "model_merged.bin), or convert it explicitly where the layers correspond: "
    f"vox mens convert-adapter FILE --to v3 --output DIR. See {FORMATS_PAGE}#mens-training-ssot."
)
_WRITE_AGAIN = "Copy the adapter and its sidecars again from where they were written."


def burn_bin_refused(path: str) -> Problem:
    """A `.bin`, by its name or by its first bytes, where a QLoRA adapter is needed."""
    return Problem(
        code="MENS-A501",
        what=f"{MERGE_QLORA_REJECTS_BURN_BIN}.",
        fix=_BURN_BIN_FIX,
        where=path,
    )


def sidecar_missing(path: str, names: Sequence[str]) -> Problem:
    """A safetensors file alone does not say which layers it adapts, nor the scale."""
    return Problem(
        code="MENS-A502",
        what=f"no sidecar lies beside it: none of {', '.join(names)}.",
        fix="Copy the sidecar from the run folder, or name it with --meta.",
        where=path,
    )


def sidecar_format_unknown(path: str, found: object, known: Sequence[str]) -> Problem:
    """A JSON file that is no sidecar of an adapter."""
    said = "it names no format" if found is None else f"its format is {clipped(found)}"
    return Problem(
        code="MENS-A503",
        what=f"it is no sidecar of an adapter: {said}.",
        fix=f"Give a file whose format is one of {', '.join(known)}.",
        where=path,
    )


def sidecar_invalid(path: str, reason: str) -> Problem:
    """A field of a sidecar is missing or wrong, or two of them contradict each other."""
    return Problem(
        code="MENS-A504",
        what=f"it is no usable sidecar: {clipped(reason)}.",
        fix=_WRITE_AGAIN,
        where=path,
    )


def form_tensor_missing(path: str, name: str, near: str | None) -> Problem:
    """The sidecar names a layer, and a half of it is not in the file."""
    return Problem(
        code="MENS-A505",
        what=f"the tensor {clipped(name)} is missing{_nearest(near)}.",
        fix=_WRITE_AGAIN,
        where=path,
    )


def form_tensor_unexpected(path: str, name: str, near: str | None) -> Problem:
    """A tensor of a layer that the sidecar does not name."""
    return Problem(
        code="MENS-A506",
        what=f"the tensor {clipped(name)} belongs to no layer of the sidecar{_nearest(near)}.",
        fix=_WRITE_AGAIN,
        where=path,
    )


def form_tensor_misshaped(path: str, name: str, found: Sequence[int], expected: str) -> Problem:
    """Shapes must be those of rank and layer to the letter; nothing is broadcast."""
    return Problem(
        code="MENS-A507",
        what=f"the tensor {clipped(name)} is {clipped(list(found))}, not {expected}.",
        fix=_WRITE_AGAIN,
        where=path,
    )


def form_tensor_twice(path: str, name: str) -> Problem:
    """Both spellings of one tensor; nobody could say which counts."""
    return Problem(
        code="MENS-A508",
        what=f"the tensor {clipped(name)} is there twice, with and without .weight.",
        fix="Write the file again with one of them.",
        where=path,
    )


def sidecars_differ(path: str, other: str, fields: Sequence[str]) -> Problem:
    """Two sidecars beside one adapter that describe different adapters."""
    return Problem(
        code="MENS-A509",
        what=f"it and {other} contradict each other in {', '.join(fields)}.",
        fix="Remove the one that is wrong, or name the right one with --meta.",
        where=path,
    )


def head_mapping_missing(path: str) -> Problem:
    """The source system's adapters always adapt the head, and its merge demands it."""
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
    """A version 3 manifest of an adapter that was trained on a base as it is stored."""
    return Problem(
        code="MENS-A512",
        what=f"its method is {method} on base_quant {base_quant}, not qlora on nf4.",
        fix="Make a .bin of it (vox mens convert-adapter DIR --to lora-bin --output FILE) and "
        "merge that with vox mens merge-weights.",
        where=path,
    )


def quantised_adapter_refused(path: str, graph: str) -> Problem:
    """`merge-weights` folds into the base as it is stored; this one was trained on another."""
    return Problem(
        code="MENS-A513",
        what=f"it is a QLoRA adapter: trained in the graph {graph} on NF4 weights, not on the "
        "base as it is stored.",
        fix="Merge it with: vox mens merge-qlora, which names the base it merges onto.",
        where=path,
    )


def proxy_has_no_other_form(path: str, graph: str, target: str) -> Problem:
    """The numbers of a proxy adapter mean nothing in the transformer."""
    return Problem(
        code="MENS-A520",
        what=f"it was trained in the graph {graph}, whose blocks are not the transformer's: as "
        f"{target} it would compute what nobody trained.",
        fix="Train with --qlora-graph full, or merge it with vox mens merge-qlora.",
        where=path,
    )


def convert_needs_base(path: str, form: str) -> Problem:
    """A form that does not say the names and shapes of its base."""
    return Problem(
        code="MENS-A521",
        what=f"{form} alone does not say all of what is to be written, and its base was not found "
        "from here.",
        fix="Name the folder of its base with --base.",
        where=path,
    )


def convert_same_form(path: str, target: str) -> Problem:
    """Nothing to convert."""
    return Problem(
        code="MENS-A522",
        what=f"it is of the form {target} already.",
        fix="Copy it, or name another form with --to.",
        where=path,
    )


def layers_unlike_base(path: str, names: Sequence[str], reason: str) -> Problem:
    """Layers of an adapter that are not those of the base that was named."""
    shown = clipped(", ".join(names[:3]))
    return Problem(
        code="MENS-A523",
        what=f"{len(names)} of its layers do not correspond to the base: {shown}: {reason}.",
        fix="Name the folder of its own base with --base.",
        where=path,
    )


def convert_source_unknown(path: str) -> Problem:
    """A path that holds no adapter in a form we read."""
    return Problem(
        code="MENS-A524",
        what="no adapter in a form that can be converted is there.",
        fix="Give a LoRA .bin, a PEFT folder, or a candle_qlora_adapter.safetensors with its "
        "sidecar.",
        where=path,
    )


def form_container_refused(found: Problem) -> Problem:
    """What the container's reader says, with the way out for a QLoRA adapter."""
    return Problem(
        code="MENS-A525",
        what=found.what,
        fix="Give the candle_qlora_adapter.safetensors of a QLoRA run with its sidecar, or copy "
        "both again from there.",
        where=found.where,
    )


NOTE_PEFT_LOSES_QUANTISATION = (
    "a PEFT folder cannot say that the adapter was trained on NF4 weights: load the base with "
    "BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type='nf4') to get what was trained"
)
NOTE_STAYS_QLORA = (
    "the header keeps the quantisation: merge-weights refuses this file and names merge-qlora"
)
NOTE_SOURCE_QUANTISER = (
    "the source system quantised with its own NF4 variant (one scale over all block scales); the "
    "manifest names ours, so the trained base is met only up to that difference"
)
NOTE_PROVENANCE_DROPPED = "a .bin has no place for the provenance; it stays in the manifest"


def note_facts_assumed(form: str) -> str:
    """What our header holds and the other form does not."""
    return (
        f"tokenizer, chat template and row length are not named in {form}: those of the base, "
        "chatml and the trainer's default were taken; step and contract digest stay empty."
    )


def _nearest(near: str | None) -> str:
    return "" if near is None else f"; the nearest name is {clipped(near)}"
