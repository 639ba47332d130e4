"""GGUF files that become model folders (MENS-H130 to H149)."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem


def gguf_broken(reason: str) -> Problem:
    """A GGUF file that contradicts its format, for example a truncated one."""
    return Problem(
        code="MENS-H130",
        what=f"not a valid GGUF file: {reason}.",
        fix="Download or write the file again.",
    )


def gguf_field_wrong(key: str, value: object | None, expected: str) -> Problem:
    """A field of the metadata that is missing or has another type."""
    found = "is missing" if value is None else f"is {clipped(value)}"
    return Problem(
        code="MENS-H131",
        what=f"{clipped(key)} {found}, where {expected} is needed.",
        fix="Convert the model to GGUF again, or use another file of it.",
    )


def gguf_unsupported(key: str, value: object | None, meaning: str) -> Problem:
    """A setting of the metadata that changes the arithmetic in an unsupported way."""
    asks = clipped(key) if value is None else f"{clipped(key)} {clipped(value)}"
    return Problem(
        code="MENS-H132",
        what=f"{asks} requires {meaning}, which is not supported.",
        fix="Use a model without this setting.",
    )


def gguf_architecture_unsupported(name: str, supported: Sequence[str]) -> Problem:
    """A GGUF file of a family that is not built."""
    names = ", ".join(sorted(supported))
    what = "it names no architecture."
    if name:
        what = f"there is no graph for the architecture {clipped(name)}, so it cannot be computed."
    fix = f"Use a model of one of: {names}; for this one, use a program that has its graph (PEFT)."
    return Problem(code="MENS-H133", what=what, fix=fix)


def gguf_not_a_model(kind: str) -> Problem:
    """A GGUF file of an adapter, an image encoder or a vocabulary."""
    return Problem(
        code="MENS-H134",
        what=f"this GGUF file is of the type {clipped(kind)}, not a whole model.",
        fix="Pass the file of the model.",
    )


def gguf_is_split(parts: int) -> Problem:
    """One of several files that hold a model together."""
    return Problem(
        code="MENS-H135",
        what=f"this is one of {parts} parts of a model.",
        fix="Join the parts first: llama-gguf-split --merge FIRST_PART OUTPUT.",
    )


def gguf_no_embedding(name: str) -> Problem:
    """A file without the matrix that says how large the vocabulary is."""
    return Problem(
        code="MENS-H136",
        what=f"it has no matrix {name}.",
        fix="Use a GGUF file that holds a whole model.",
    )


def gguf_tokenizer_unsupported(reason: str) -> Problem:
    """A tokenizer that cannot be made of the metadata."""
    return Problem(
        code="MENS-H137",
        what=f"its tokenizer cannot be converted: {reason}.",
        fix="Pass --tokenizer-from with a folder that holds this model's own tokenizer.json.",
    )


def note_template_left_out(name: str) -> str:
    """A named chat template that cannot become a file."""
    return f"the chat template {clipped(name)} was left out: its name or size fits no file."


def gguf_value_beyond(name: str, dtype: str) -> Problem:
    """A number that becomes infinite in the type that is written."""
    return Problem(
        code="MENS-H138",
        what=f"the tensor {clipped(name)} has numbers beyond {dtype}.",
        fix="Pass --dtype bfloat16 or float32.",
    )


def no_tokenizer_there(name: str) -> Problem:
    """A folder from which a tokenizer is to be copied, without one."""
    return Problem(
        code="MENS-H139",
        what=f"there is no {name} to copy.",
        fix="Pass the folder that holds the tokenizer.json of this model.",
    )


def note_quantised_source(kind: str, dtype: str) -> str:
    """The weights were rounded when the file was made; writing them wider does not undo that."""
    return (
        f"the weights are those of {kind}: they were rounded when the file was made, and writing"
        f" them as {dtype} does not undo that."
    )


def note_rounded_source(kind: str, dtype: str) -> str:
    """The file has a wider or other type than the folder that was asked for."""
    return f"the file's numbers are {kind}; they are rounded to {dtype}."
