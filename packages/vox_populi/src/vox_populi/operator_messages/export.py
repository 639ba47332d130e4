"""Adapters of other programs and of other forms, read or written (MENS-A06x to A08x, A52x)."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem

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

_MERGE = "Merge the adapter into its base (vox mens merge-weights) and ship the merged folder."
_SAVE_AGAIN = "Save the adapter again with PEFT's save_pretrained, and copy the whole folder."


def not_a_peft_folder(name: str) -> Problem:
    """One of the two files of a PEFT adapter is missing."""
    return Problem(
        code="MENS-A060",
        what=f"not a PEFT adapter folder: there is no {name}.",
        fix="Pass the folder written by PEFT's save_pretrained, with adapter_config.json and "
        "adapter_model.safetensors; pass adapters of vox mens train with --run or --checkpoint.",
    )


def peft_config_invalid(reason: str) -> Problem:
    """A required field of `adapter_config.json` is missing or wrong."""
    return Problem(
        code="MENS-A061",
        what=f"not a valid PEFT config: {clipped(reason)}.",
        fix=_SAVE_AGAIN,
    )


def peft_setting_unsupported(field: str, value: object, reason: str) -> Problem:
    """A setting that makes the adapter more than one plain low-rank update."""
    return Problem(
        code="MENS-A062",
        what=f"{field} is {clipped(value)}: {reason}.",
        fix="Merge it into its base with PEFT (merge_and_unload), or train without that setting.",
    )


PEFT_TARGETS_NOTHING = Problem(
    code="MENS-A067",
    what="target_modules does not match any projection of the base.",
    fix="Pass the folder of the adapter's own base with --model.",
)
"""An adapter without a tensor for any projection of the base."""


def peft_table_differs(name: str) -> Problem:
    """A PEFT folder with trained or foreign weights of the base's embedding or head."""
    return Problem(
        code="MENS-H167",
        what=f"it brings {clipped(name)}, which is not the base's own table.",
        fix="Pass the folder of the adapter's own base with --model, or merge it there with PEFT"
        " (merge_and_unload).",
    )


def note_ranks_made_equal(rank: int) -> str:
    """A PEFT folder with ranks or scales of its own for some projections."""
    return (
        f"its projections have different ranks or scales: all have rank {rank} now, filled up with"
        " zeros, and the same updates."
    )


def consumer_refuses(consumer: str, reason: str) -> Problem:
    """The adapter cannot be represented in the consumer's format."""
    return Problem(
        code="MENS-A070",
        what=f"{consumer} cannot load it: {reason}.",
        fix=_MERGE,
    )


def consumer_needs_other_form(consumer: str, form: str) -> Problem:
    """A folder in another program's format."""
    return Problem(
        code="MENS-A071",
        what=f"{consumer} does not read {form}.",
        fix=f"Write its format with: vox mens export-adapter RUN --for {consumer} --output-dir DIR",
    )


def consumer_file_unsound(consumer: str, reason: str, where: str | None) -> Problem:
    """A file that the consumer reads is missing, broken or contradicts another file."""
    return Problem(
        code="MENS-A072",
        what=f"{consumer} would fail or load it incorrectly: {reason}",
        fix="Export the adapter for it (vox mens export-adapter), or merge it into its base.",
        where=where,
    )


NOTHING_TO_LINT = Problem(
    code="MENS-A073",
    what="neither an adapter folder nor a model folder.",
    fix="Pass a folder with adapter_config.json, adapters.safetensors, or config.json with "
    "weights.",
)
"""A path with neither an adapter nor a model."""


def exported_file_differs(name: str) -> Problem:
    """A written file does not read back as expected; nothing is published."""
    return Problem(
        code="MENS-A074",
        what=f"{clipped(name)} did not read back as it was written; nothing is published.",
        fix="Check the disk, then export again.",
    )


EXPORT_TARGET_EXISTS = Problem(
    code="MENS-A075",
    what="it already exists, and exports do not replace anything.",
    fix="Choose a new path.",
)
"""An export never writes to an existing path."""


def gguf_model_unsupported(reason: str) -> Problem:
    """A model that GGUF cannot represent."""
    return Problem(
        code="MENS-A076",
        what=f"it cannot be written as GGUF: {reason}.",
        fix="Use llama.cpp's own convert_hf_to_gguf.py, or serve the folder as it is.",
    )


def gguf_value_too_large(name: str, kind: str) -> Problem:
    """A weight outside the range of the requested type."""
    return Problem(
        code="MENS-A077",
        what=f"the tensor {clipped(name)} has values that {kind} cannot hold.",
        fix="Write it with --type f32.",
    )


NOTE_GGUF_OWN_VOCABULARY = (
    "llama.cpp has no code for the pattern of the vox tokenizer: the nearest is used, which "
    "differs only in numbers of more than three digits, and where a word follows a tab and a "
    "space or more than 16 spaces"
)
"""Our own tokenizer, whose pattern llama.cpp does not have."""


def note_text_model_alone(name: str) -> str:
    """A GGUF file of a folder that holds more than a text model."""
    return (
        f"the file has the text model of {clipped(name)} alone; for images llama.cpp needs a second"
        " file (mmproj), which its own converter makes."
    )


NOTE_OLLAMA_GUESSES = (
    "the Modelfile has no TEMPLATE, as Ollama's kind of templates cannot express this one: "
    "Ollama will guess a layout. llama.cpp reads the template in the GGUF file."
)
"""A chat template that Ollama's kind of templates cannot express, or none at all."""

NOTE_TEMPLATE_FOR_LLAMA_CPP = (
    "start llama-server with --jinja --chat-template-file chat_template.jinja"
)
"""The base's GGUF file may have a different template."""


def note_template_for_mlx(end: str) -> str:
    """mlx-lm takes template and end from the base's folder."""
    return (
        "mlx-lm takes template and end from the base: chat_template.jinja is the layout of the "
        f"training, which ends at {clipped(end)} (--extra-eos-token)"
    )


NOTE_BASE_IS_A_FOLDER = (
    "adapter_config.json names the base by its folder on this machine; before you publish it, "
    "export with --base-name ORG/NAME"
)
"""A path of this machine is in the exported config."""

NOTE_IMPORTED_AS_IS = (
    "both files are byte-identical to those of the folder the adapter was imported from"
)


def note_gguf_left_out(install_line: str) -> str:
    """Writing llama.cpp's file needs a package that is not installed."""
    return f"adapter.gguf was left out: it needs the package gguf. Run: {install_line}"


NOTE_TARGETS_NOT_COMPARED = (
    "target_modules is a pattern, so the tensors decide which projections are adapted."
)
"""A pattern is not evaluated; the tensors decide."""

NOTE_TEMPLATE_ASSUMED = (
    "a PEFT folder does not record its chat template; --template and --system-prompt "
    "were used as given."
)
"""PEFT folders do not record the template they were trained with."""


def proxy_has_no_other_form(graph: str, target: str) -> Problem:
    """A proxy adapter, whose numbers are meaningless in the transformer."""
    return Problem(
        code="MENS-A520",
        what=f"it was trained in the graph {graph}, whose blocks are not the transformer's: as "
        f"{target} it would compute something nobody trained.",
        fix="Train with --qlora-graph full, or merge it with vox mens merge-qlora.",
    )


def convert_needs_base(form: str) -> Problem:
    """A format without the names and shapes of its base."""
    return Problem(
        code="MENS-A521",
        what=f"{form} alone lacks information for the conversion, and its base was not found "
        "from here.",
        fix="Pass the folder of its base with --base.",
    )


def convert_same_form(target: str) -> Problem:
    """The adapter already has the requested format."""
    return Problem(
        code="MENS-A522",
        what=f"it already has the format {target}.",
        fix="Copy it, or choose another format with --to.",
    )


def layers_unlike_base(names: Sequence[str], reason: str) -> Problem:
    """Layers of an adapter that the given base does not have."""
    shown = clipped(", ".join(names[:3]))
    return Problem(
        code="MENS-A523",
        what=f"{len(names)} of its layers do not correspond to the base: {shown}: {reason}.",
        fix="Pass the folder of its own base with --base.",
    )


CONVERT_SOURCE_UNKNOWN = Problem(
    code="MENS-A524",
    what="there is no adapter in a format that can be converted.",
    fix="Pass a LoRA .bin, a PEFT folder, or a candle_qlora_adapter.safetensors with its sidecar.",
)
"""A path without an adapter in a supported format."""


def note_facts_assumed(form: str) -> str:
    """Facts in our header that the other format does not have."""
    return (
        f"tokenizer, chat template and row length are not recorded in {form}: those of the base, "
        "chatml and the trainer's default were used; step and contract digest stay empty."
    )


def proxy_has_no_consumer(graph: str) -> Problem:
    """A proxy adapter for another program, which would run it in the whole transformer."""
    return Problem(
        code="MENS-A541",
        what=f"it was trained in the graph {clipped(graph)}; another program would run it in the "
        "whole transformer, for which it was not trained.",
        fix="Merge it into its base with vox schola merge-qlora, or train with --qlora-graph full.",
    )


NOTE_EXPORTED_FROM_NF4 = (
    "the adapter was trained on the NF4 base; on the dense base its answers differ slightly "
    "(vox schola merge-qlora measures by how much)."
)
"""A consumer that loads the base in 16 bits does not run the trained model."""


def mobile_format_refused(target: str, reason: str, fix: str) -> Problem:
    """A program on a device whose format is not written here."""
    return Problem(
        code="MENS-A563",
        what=f"{target} cannot be written here: {reason}.",
        where="--for",
        fix=fix,
    )


NOTE_EXPERTS_STACKED = "the adapters of a layer's experts are stacked, as PEFT's target_parameters"
NOTE_EXPERTS_IN_PEFT = "each expert has an adapter; PEFT 0.21 stacks them as it loads"


def mobile_without_experts(target: str) -> Problem:
    """A mixture of experts, whose shapes depend on the text."""
    reason = "the model is a mixture of experts, and a graph has no form for those"
    return mobile_format_refused(target, reason, "Use the merged folder where transformers runs.")


def mobile_program_missing(known: Sequence[str]) -> Problem:
    """A graph for a device without the program that will run it."""
    return Problem(
        code="MENS-V050",
        what="the program that will run the graph is not named.",
        where="--for",
        fix=f"Pass --for {known[0]}, or another of {', '.join(known[1:])}.",
    )


def inference_profile_unknown(word: str, known: Sequence[str]) -> Problem:
    """A word in the source system's variable that it does not know."""
    return Problem(
        code="MENS-V051",
        what=f"{clipped(word)!r} is not an inference profile.",
        fix=f"Use one of {', '.join(known)}, or unset it.",
    )


MOBILE_NEEDS_DENSE = Problem(
    code="MENS-A564",
    what="its base is in 4 bits, which the graph for a device is not.",
    fix="Merge it first with vox mens merge-qlora, and export the merged folder.",
)
"""A base in 4 bits, or an adapter that was trained on one."""


def mobile_rank(rank: int, most: int) -> Problem:
    """An adapter that is larger than those of the deployment target mobile_edge."""
    return Problem(
        code="MENS-A565",
        what=f"its rank is {rank}; an adapter for a device has at most {most}.",
        fix="Train with --deployment-target mobile_edge, or merge the run and export the folder.",
    )


def mobile_positions(seq_len: int, positions: int) -> Problem:
    """A graph for longer texts than the base has positions for."""
    return Problem(
        code="MENS-A566",
        what=f"texts of {seq_len} tokens are longer than the base was made for.",
        where="--seq-len",
        fix=f"Pass --seq-len {positions} or less.",
    )


def mobile_too_short(seq_len: int, least: int) -> Problem:
    """A graph that is too short for every prompt that is compared."""
    return Problem(
        code="MENS-A567",
        what=f"no prompt fits into {seq_len} tokens, so that nothing could be compared.",
        where="--seq-len",
        fix=f"Pass --seq-len {least} or more.",
    )


def mobile_answer_differs(prompt: int, token: int, difference: float) -> Problem:
    """The exported graph answers otherwise than the model; nothing is published."""
    return Problem(
        code="MENS-A568",
        what=f"the exported graph answers prompt {prompt} otherwise from token {token} on; scores "
        f"differ by up to {difference:.2e}. Nothing was written.",
        fix="Report this with the model's config, or use vox mens export-gguf.",
    )
