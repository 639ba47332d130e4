"""Model folders (MENS-H): configs, headers, shards, tokenizers."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem


def model_dir_missing(exists: bool) -> Problem:
    """A path that is not a model folder."""
    return Problem(
        code="MENS-H001",
        what="not a folder." if exists else "there is no such folder.",
        fix="Pass a folder with config.json and safetensors weights.",
    )


def note_model_code_ignored(where: str, model_type: str) -> str:
    """The folder contains Python code for a built-in family."""
    return f"{where}: auto_map is ignored; the built-in {model_type} is used, and no code is run."


def note_dynamic_rope(positions: int) -> str:
    """Dynamic scaling starts beyond the context stated in the file."""
    return (
        f"rope_scaling dynamic: up to {positions} tokens the default frequencies apply;"
        " longer rows are refused."
    )


NOTE_ROUTER_LOSS_NOT_USED = (
    "output_router_logits is true: transformers then adds a loss that balances the experts."
    " It is not used here; the router stays as it is."
)
"""The config asks for the loss that balances experts while a model is pre-trained."""


def note_text_model_only(name: str) -> str:
    """The folder has a text model within a larger one."""
    return (
        f"{name}: its text model is used, without images. A merge copies everything else as it is."
    )


def model_is_gguf(where: str) -> Problem:
    """A file in llama.cpp's format."""
    return Problem(
        code="MENS-H091",
        what="this is a GGUF file; models are read from safetensors folders.",
        fix="Pass the folder it was made from, or convert it once and pass that folder:"
        f" vox mens import-gguf {where} --output-dir DIR",
        where=where,
    )


MODEL_IS_ADAPTER = Problem(
    code="MENS-H092",
    what="this is a PEFT adapter, not a model.",
    fix="generate and eval take it with --adapter and --model BASE; for training, convert it"
    " with vox mens import-adapter and pass the result with --init-from.",
)
"""A PEFT folder, which is an adapter without its base."""

MODEL_IS_RUN = Problem(
    code="MENS-H093",
    what="this is a training run, not a model.",
    fix="generate and eval take it with --run; to get a model, merge it with"
    " vox mens merge-weights (LoRA) or vox mens merge-qlora (QLoRA).",
)
"""A run folder, which is an adapter without its base."""

MODEL_FILE_MISSING = Problem(
    code="MENS-H002",
    what="there is no such file.",
    fix="Download the model again, or choose another folder.",
)
"""A required file is missing."""


def model_file_unreadable(reason: str) -> Problem:
    """The operating system refuses to read it."""
    return Problem(
        code="MENS-H003",
        what=f"it cannot be read: {reason}.",
        fix="Check its permissions and the disk.",
    )


MODEL_FILE_NOT_REGULAR = Problem(
    code="MENS-H004",
    what="not a regular file.",
    fix="Replace it with the file itself.",
)
"""A folder, FIFO or device in place of a file."""

PUBLISHED_FILE_LEADS_OUT = Problem(
    code="MENS-A101",
    what="this is a link out of the model folder, and its content would be published.",
    fix="Replace the link with a copy of the file, or remove it.",
)
"""The target of such a link must not be published as part of the model."""


def model_file_too_large(limit: int) -> Problem:
    """A JSON file larger than any real one."""
    return Problem(
        code="MENS-H005",
        what=f"it is larger than {limit:,} bytes, which is too large for such a file.",
        fix="Download the file again.",
    )


def model_json_invalid(reason: str) -> Problem:
    """A file that is not the required JSON object."""
    return Problem(
        code="MENS-H006",
        what=f"it cannot be used as JSON: {reason}.",
        fix="Download the file again, or correct it.",
    )


def model_type_unsupported(name: str, supported: Sequence[str]) -> Problem:
    """An unsupported architecture."""
    names = ", ".join(supported)
    what = f"model_type {clipped(name)} is not supported." if name else "it has no model_type."
    return Problem(code="MENS-H010", what=what, fix=f"Use one of: {names}.")


def config_field_missing(name: str, expected: str) -> Problem:
    """A field that is needed to know the shapes."""
    return Problem(
        code="MENS-H011",
        what=f"the field {clipped(name)} is missing.",
        fix=f"Set it to {expected}.",
    )


def config_field_wrong(name: str, value: object, expected: str) -> Problem:
    """A field of the wrong type or out of range."""
    return Problem(
        code="MENS-H012",
        what=f"the field {clipped(name)} is {clipped(value)}.",
        fix=f"Set it to {expected}.",
    )


def config_unsupported(name: str, value: object | None, meaning: str) -> Problem:
    """A known setting that changes the arithmetic in an unsupported way."""
    asks = clipped(name) if value is None else f"{clipped(name)} {clipped(value)}"
    return Problem(
        code="MENS-H013",
        what=f"{asks} requires {meaning}, which is not supported.",
        fix="Use a model without this setting.",
    )


def config_contradiction(where: str, *names: str) -> Problem:
    """Fields that contradict each other."""
    listed = " and ".join(clipped(name) for name in names)
    return Problem(
        code="MENS-H014",
        what=f"{listed} contradict each other.",
        fix="Correct one of them, or download the file again.",
        where=where,
    )


def container_broken(reason: str) -> Problem:
    """A safetensors file that violates its format."""
    return Problem(
        code="MENS-H020",
        what=f"not a valid safetensors file: {reason}.",
        fix="Download or write the file again.",
    )


def container_foreign(kind: str) -> Problem:
    """A different format under the name of a safetensors file."""
    return Problem(
        code="MENS-H021",
        what=f"this is {kind}, not a safetensors file; nothing in it was read or run.",
        fix="Download the safetensors weights of this model, or convert them first.",
    )


def weights_missing(found: str | None) -> Problem:
    """No safetensors weights in the folder."""
    beside = f" (only {found}, in another format)" if found else ""
    return Problem(
        code="MENS-H030",
        what=f"there is no model.safetensors or model.safetensors.index.json{beside}.",
        fix="Download or save the weights as safetensors in this folder.",
    )


WEIGHTS_AMBIGUOUS = Problem(
    code="MENS-H031",
    what="there is a model.safetensors, and an index that does not list it.",
    fix="Remove the set of weights you do not want.",
)
"""Two sets of weights in one folder."""


def index_entry_wrong(name: str, reason: str) -> Problem:
    """An entry of the index that cannot be followed safely."""
    return Problem(
        code="MENS-H032",
        what=f"the entry {clipped(name)} {reason}.",
        fix="Download or write the index again.",
    )


def tensor_not_in_shard(name: str) -> Problem:
    """The index lists a tensor that its shard lacks."""
    return Problem(
        code="MENS-H033",
        what=f"the index lists {clipped(name)} for this file, but it is not there.",
        fix="Download the shard and the index again.",
    )


def tensor_not_in_index(name: str) -> Problem:
    """A shard has a tensor that the index assigns to another file or to none."""
    return Problem(
        code="MENS-H034",
        what=f"it contains {clipped(name)}, which the index does not list for this file.",
        fix="Download the shard and the index again.",
    )


def tensor_named_twice(name: str) -> Problem:
    """A tensor both with and without the prefix that checkpoints of its family may leave out."""
    return Problem(
        code="MENS-H044",
        what=f"the tensor {clipped(name)} occurs with and without its first part.",
        fix="Remove one of the two.",
    )


def hf_tokenizer_unusable(reason: str) -> Problem:
    """A `tokenizer.json` that the tokenizers library cannot use."""
    return Problem(
        code="MENS-H050",
        what=f"the tokenizer cannot be used: {reason}.",
        fix="Download this model's tokenizer.json again.",
    )


def hf_tokenizer_unbounded(reason: str) -> Problem:
    """A tokenizer whose replacements or patterns use unbounded time or memory."""
    return Problem(
        code="MENS-H080",
        what=f"the tokenizer uses unbounded time or memory: {reason}.",
        fix="Use the tokenizer.json that the model was published with.",
    )


def hf_tokenizer_too_slow(characters: int, seconds: float) -> Problem:
    """A tokenizer that passed its trial but needs too much time or memory for one text."""
    return Problem(
        code="MENS-H081",
        what=f"the tokenizer took {seconds:.0f} s for a text of {characters:,} characters.",
        fix="Use the tokenizer.json that the model was published with.",
    )


HF_TOKENIZER_FAILED = Problem(
    code="MENS-H051",
    what="the tokenizer failed while encoding or decoding a text.",
    fix="Download this model's tokenizer.json again.",
)
"""A tokenizer that loads but fails on a text, for example because of a runaway pattern."""

EMBEDDED_MODEL_MISSING = Problem(
    code="MENS-H060",
    what="the embedded model is not part of this installation.",
    fix="Reinstall Vox Mens, or pass a model folder with --model.",
)
"""An installation without the model that ships with it."""
