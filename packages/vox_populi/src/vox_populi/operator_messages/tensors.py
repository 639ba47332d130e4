"""Problems with the tensors of a weight file, worded the same for every kind of file.

Each kind of file has its own problem codes and its own fixes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from vox_populi.operator_messages.wording import and_nearest, clipped
from vox_tensor.errors import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFile:
    """The codes and fixes of a kind of file."""

    missing: str
    unexpected: str
    misshaped: str
    wrong_type: str
    not_finite: str | None = None
    fix: str
    """Fix for every code that is not in `fixes`."""
    fixes: dict[str, str] = field(default_factory=dict)
    no_place: str
    """Text for an unexpected tensor, which is not part of something."""
    dtypes: str = "F32, BF16 or F16"

    def problem(self, code: str, what: str, where: str) -> Problem:
        """A problem with the fix for its code."""
        return Problem(code=code, what=what, fix=self.fixes.get(code, self.fix), where=where)


LORA_BIN = TensorFile(
    missing="MENS-A006",
    unexpected="MENS-A007",
    misshaped="MENS-A008",
    wrong_type="MENS-A009",
    not_finite="MENS-A010",
    fix="Copy the file again from where it was written, or train again.",
    no_place="is not in its header",
    dtypes="F32",
)
SIDECAR = TensorFile(
    missing="MENS-A505",
    unexpected="MENS-A506",
    misshaped="MENS-A507",
    wrong_type="MENS-A009",
    fix="Copy the adapter and its sidecars again from where they were written.",
    fixes={"MENS-A009": LORA_BIN.fix},
    no_place="belongs to no layer of the sidecar",
    dtypes="F32",
)
PEFT_FOLDER = TensorFile(
    missing="MENS-A063",
    unexpected="MENS-A064",
    misshaped="MENS-A065",
    wrong_type="MENS-A066",
    fix="Save the adapter again with PEFT's save_pretrained, and copy the whole folder.",
    fixes={
        "MENS-A064": "Pass the folder of the adapter's own base with --model, or save it with PEFT"
        " again.",
        "MENS-A065": "Pass the folder of the adapter's own base with --model, or correct r.",
    },
    no_place="belongs to no adapted projection of the base",
)
MODEL_FOLDER = TensorFile(
    missing="MENS-H040",
    unexpected="MENS-H041",
    misshaped="MENS-H042",
    wrong_type="MENS-H043",
    not_finite="MENS-H061",
    fix="Use the config.json that belongs to these weights.",
    fixes={
        "MENS-H040": "Download the weights again, or the config.json that belongs to them.",
        "MENS-H043": "Use unquantised weights of this model.",
        "MENS-H061": "Download the weights again, or train from a sound checkpoint.",
    },
    no_place="does not belong to this model",
)
GGUF_FILE = TensorFile(
    missing="MENS-H140",
    unexpected="MENS-H141",
    misshaped="MENS-H142",
    wrong_type="MENS-H143",
    not_finite="MENS-H144",
    fix="Convert the model to GGUF again, or use another file of it.",
    no_place="does not belong to this model",
    dtypes="one of weights",
)
TENSOR_FILES = (LORA_BIN, SIDECAR, PEFT_FOLDER, MODEL_FOLDER, GGUF_FILE)


def tensor_missing(file: TensorFile, where: str, name: str, near: str | None = None) -> Problem:
    """A tensor that the file's description requires is missing."""
    what = f"the tensor {clipped(name)} is missing{and_nearest(near)}."
    return file.problem(file.missing, what, where)


def tensor_unexpected(file: TensorFile, where: str, name: str, near: str | None = None) -> Problem:
    """A tensor that nothing in the file's description asks for."""
    what = f"the tensor {clipped(name)} {file.no_place}{and_nearest(near)}."
    return file.problem(file.unexpected, what, where)


def tensor_misshaped(
    file: TensorFile, where: str, name: str, found: Sequence[int], expected: Sequence[int | None]
) -> Problem:
    """A tensor whose shape does not follow from the file's description; nothing is broadcast."""
    kind = "the 2D matrix " if len(expected) == 2 != len(found) else ""
    shape = ", ".join("any" if size is None else str(size) for size in expected)
    what = f"the tensor {clipped(name)} is {clipped(list(found))}, not {kind}[{shape}]."
    return file.problem(file.misshaped, what, where)


def tensor_wrong_type(file: TensorFile, where: str, name: str, dtype: str) -> Problem:
    """A tensor of a number type that cannot be used here."""
    what = f"the tensor {clipped(name)} has the dtype {clipped(dtype)}, not {file.dtypes}."
    return file.problem(file.wrong_type, what, where)


def tensor_not_finite(file: TensorFile, where: str, name: str) -> Problem:
    """NaN or infinity in a tensor."""
    assert file.not_finite is not None
    what = f"the tensor {clipped(name)} has values that are not finite."
    return file.problem(file.not_finite, what, where)
