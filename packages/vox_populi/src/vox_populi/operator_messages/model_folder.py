"""Model folders (MENS-H): configs, headers, shards, tokenizers."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem


def model_dir_missing(where: str, exists: bool) -> Problem:
    """A path that should be a model folder, and is not one."""
    return Problem(
        code="MENS-H001",
        what="it is not a folder." if exists else "there is no such folder.",
        fix="Pass a folder that holds config.json and safetensors weights.",
        where=where,
    )


def note_model_code_ignored(where: str, model_type: str) -> str:
    """The folder brings Python code for a family that is built in."""
    return f"{where}: auto_map is ignored; the built-in {model_type} is used, and no code is run."


def note_dynamic_rope(positions: int) -> str:
    """Dynamic scaling sets in beyond the context that the file states."""
    return (
        f"rope_scaling dynamic: up to {positions} tokens the frequencies are the default ones;"
        " longer rows are refused."
    )


def model_is_hub_id(where: str, name: str) -> Problem:
    """A model's name on the Hugging Face Hub, where a folder belongs."""
    return Problem(
        code="MENS-H090",
        what="there is no such folder, and nothing is downloaded.",
        fix=f"Download it once, and pass the folder: hf download {where} --local-dir models/{name}",
        where=where,
    )


def model_is_gguf(where: str) -> Problem:
    """llama.cpp's format, which holds weights that were rounded for inference."""
    return Problem(
        code="MENS-H091",
        what="it is a GGUF file, and models are read from safetensors folders.",
        fix="Pass the folder it was made from, with config.json and safetensors weights.",
        where=where,
    )


def model_is_adapter(where: str) -> Problem:
    """A PEFT folder: an adapter without its base."""
    return Problem(
        code="MENS-H092",
        what="it is a PEFT adapter, not a model.",
        fix="generate and eval take it with --adapter, beside --model BASE; for training, make a"
        " file of it with vox mens import-adapter and pass that with --init-from.",
        where=where,
    )


def model_is_run(where: str) -> Problem:
    """The folder of one of our runs: an adapter without its base."""
    return Problem(
        code="MENS-H093",
        what="it is a training run, not a model.",
        fix="generate and eval take it with --run; to make a model of it, merge it with"
        " vox mens merge-weights (LoRA) or vox mens merge-qlora (QLoRA).",
        where=where,
    )


def model_file_missing(where: str) -> Problem:
    """A file that the folder must hold."""
    return Problem(
        code="MENS-H002",
        what="there is no such file.",
        fix="Fetch the model again, or name another folder.",
        where=where,
    )


def model_file_unreadable(where: str, reason: str) -> Problem:
    """The operating system says no."""
    return Problem(
        code="MENS-H003",
        what=f"it cannot be read: {reason}.",
        fix="Check its permissions and the disk.",
        where=where,
    )


def model_file_not_regular(where: str) -> Problem:
    """A folder, FIFO or device stands where a file belongs."""
    return Problem(
        code="MENS-H004",
        what="it is not a regular file.",
        fix="Replace it by the file itself.",
        where=where,
    )


def published_file_leads_out(where: str) -> Problem:
    """What a link leads to is not given to others under the model's name."""
    return Problem(
        code="MENS-A101",
        what="it is a link out of the model folder, and its content would be published.",
        fix="Replace the link by a copy of the file, or remove it.",
        where=where,
    )


def model_file_too_large(where: str, limit: int) -> Problem:
    """A JSON file beyond every real one."""
    return Problem(
        code="MENS-H005",
        what=f"it is larger than {limit:,} bytes, which no such file is.",
        fix="Fetch the file again.",
        where=where,
    )


def model_json_invalid(where: str, reason: str) -> Problem:
    """Not the JSON object it must be."""
    return Problem(
        code="MENS-H006",
        what=f"it cannot be used as JSON: {reason}.",
        fix="Fetch the file again, or correct it.",
        where=where,
    )


def model_type_unsupported(where: str, name: str, supported: Sequence[str]) -> Problem:
    """The one refusal of a foreign architecture."""
    names = ", ".join(supported)
    what = f"model_type {clipped(name)} is not supported." if name else "it names no model_type."
    return Problem(code="MENS-H010", what=what, fix=f"Use one of: {names}.", where=where)


def config_field_missing(where: str, name: str, expected: str) -> Problem:
    """A field without which no shape is known."""
    return Problem(
        code="MENS-H011",
        what=f"the field {clipped(name)} is missing.",
        fix=f"Set it to {expected}.",
        where=where,
    )


def config_field_wrong(where: str, name: str, value: object, expected: str) -> Problem:
    """A field of the wrong type or out of range."""
    return Problem(
        code="MENS-H012",
        what=f"the field {clipped(name)} is {clipped(value)}.",
        fix=f"Set it to {expected}.",
        where=where,
    )


def config_unsupported(where: str, name: str, value: object | None, meaning: str) -> Problem:
    """A setting that is understood, and that changes the arithmetic in a way not built."""
    asks = clipped(name) if value is None else f"{clipped(name)} {clipped(value)}"
    return Problem(
        code="MENS-H013",
        what=f"{asks} asks for {meaning}, which is not supported.",
        fix="Use a model without this setting.",
        where=where,
    )


def config_contradiction(where: str, *names: str) -> Problem:
    """Fields that exclude each other."""
    listed = " and ".join(clipped(name) for name in names)
    return Problem(
        code="MENS-H014",
        what=f"{listed} contradict each other.",
        fix="Correct one of them, or fetch the file again.",
        where=where,
    )


def container_broken(where: str, reason: str) -> Problem:
    """A safetensors file that breaks its format."""
    return Problem(
        code="MENS-H020",
        what=f"it is not a sound safetensors file: {reason}.",
        fix="Fetch or write the file again.",
        where=where,
    )


def container_foreign(where: str, kind: str) -> Problem:
    """Another format under the name of a safetensors file."""
    return Problem(
        code="MENS-H021",
        what=f"it is {kind}, not a safetensors file; nothing in it was read or run.",
        fix="Fetch the safetensors weights of this model, or convert them first.",
        where=where,
    )


def weights_missing(where: str, found: str | None) -> Problem:
    """No safetensors weights in the folder."""
    beside = f" ({found} is there, in another format)" if found else ""
    return Problem(
        code="MENS-H030",
        what=f"neither model.safetensors nor model.safetensors.index.json is there{beside}.",
        fix="Fetch or save the weights as safetensors into this folder.",
        where=where,
    )


def weights_ambiguous(where: str) -> Problem:
    """Two sets of weights in one folder."""
    return Problem(
        code="MENS-H031",
        what="model.safetensors is there beside an index that does not name it.",
        fix="Remove the set of weights that is not meant.",
        where=where,
    )


def index_entry_wrong(where: str, name: str, reason: str) -> Problem:
    """An entry of the index that no reader could follow safely."""
    return Problem(
        code="MENS-H032",
        what=f"the entry {clipped(name)} {reason}.",
        fix="Fetch or write the index again.",
        where=where,
    )


def tensor_not_in_shard(where: str, name: str) -> Problem:
    """The index promises a tensor that its shard lacks."""
    return Problem(
        code="MENS-H033",
        what=f"the index puts {clipped(name)} here, and it is not here.",
        fix="Fetch the shard and the index again.",
        where=where,
    )


def tensor_not_in_index(where: str, name: str) -> Problem:
    """A shard holds a tensor that the index gives to another file or to none."""
    return Problem(
        code="MENS-H034",
        what=f"it holds {clipped(name)}, which the index does not put here.",
        fix="Fetch the shard and the index again.",
        where=where,
    )


def tensor_missing(where: str, name: str) -> Problem:
    """The config asks for a tensor that no file holds."""
    return Problem(
        code="MENS-H040",
        what=f"the tensor {clipped(name)} is missing.",
        fix="Fetch the weights again, or the config.json that belongs to them.",
        where=where,
    )


def tensor_unexpected(where: str, name: str) -> Problem:
    """A tensor that the config's model has no place for."""
    return Problem(
        code="MENS-H041",
        what=f"the tensor {clipped(name)} has no place in this model.",
        fix="Use the config.json that belongs to these weights.",
        where=where,
    )


def tensor_misshaped(
    where: str, name: str, found: Sequence[int], expected: Sequence[int]
) -> Problem:
    """A tensor of another shape than the config says."""
    kind = "the 2D matrix " if len(expected) == 2 != len(found) else ""
    return Problem(
        code="MENS-H042",
        what=f"the tensor {clipped(name)} is {clipped(list(found))}, not {kind}{list(expected)}.",
        fix="Use the config.json that belongs to these weights.",
        where=where,
    )


def tensor_dtype_unsupported(where: str, name: str, dtype: str) -> Problem:
    """A tensor whose numbers the transformer cannot compute with."""
    return Problem(
        code="MENS-H043",
        what=f"the tensor {clipped(name)} has the dtype {dtype}; F32, BF16 and F16 can be read.",
        fix="Use unquantised weights of this model.",
        where=where,
    )


def tensor_named_twice(where: str, name: str) -> Problem:
    """A GPT-2 tensor both with and without the `transformer.` prefix."""
    return Problem(
        code="MENS-H044",
        what=f"the tensor {clipped(name)} is there with and without the prefix 'transformer.'.",
        fix="Remove one of the two.",
        where=where,
    )


def hf_tokenizer_unusable(where: str, reason: str) -> Problem:
    """`tokenizer.json` that the tokenizers library cannot work with."""
    return Problem(
        code="MENS-H050",
        what=f"the tokenizer cannot be used: {reason}.",
        fix="Fetch tokenizer.json of this model again.",
        where=where,
    )


def hf_tokenizer_unbounded(where: str, reason: str) -> Problem:
    """A tokenizer whose replacements or patterns use time or memory without bound."""
    return Problem(
        code="MENS-H080",
        what=f"the tokenizer uses time or memory without bound: {reason}.",
        fix="Use the tokenizer.json that the model was published with.",
        where=where,
    )


def hf_tokenizer_too_slow(where: str, characters: int, seconds: float) -> Problem:
    """A tokenizer that passed its trial and takes unreasonably long, or much, for one text."""
    return Problem(
        code="MENS-H081",
        what=f"the tokenizer took {seconds:.0f} s for a text of {characters:,} characters.",
        fix="Use the tokenizer.json that the model was published with.",
        where=where,
    )


def hf_tokenizer_failed(where: str) -> Problem:
    """A tokenizer that loads and then fails on a text, such as by a runaway pattern."""
    return Problem(
        code="MENS-H051",
        what="the tokenizer failed while it encoded or decoded a text.",
        fix="Fetch tokenizer.json of this model again.",
        where=where,
    )


def embedded_model_missing(where: str) -> Problem:
    """An installation without the model that ships with it."""
    return Problem(
        code="MENS-H060",
        what="the embedded model is not part of this installation.",
        fix="Reinstall Vox Mens, or pass a model folder with --model.",
        where=where,
    )


def base_not_finite(where: str, name: str) -> Problem:
    """A weight that is infinite or not a number would make every loss so."""
    return Problem(
        code="MENS-H061",
        what=f"the tensor {clipped(name)} holds a value that is not finite.",
        fix="Fetch the weights again, or train from a sound checkpoint.",
        where=where,
    )
