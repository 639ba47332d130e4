"""Folders with experts in MXFP4, as gpt-oss is published (MENS-H253 to H257)."""

from __future__ import annotations

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem

_DOWNLOAD = "Download the folder again."


def mxfp4_part_missing(present: str, missing: str) -> Problem:
    """Blocks without scales, or scales without blocks."""
    return Problem(
        code="MENS-H253",
        what=f"{clipped(present)} is half of a tensor in MXFP4; there is no {clipped(missing)}.",
        fix=_DOWNLOAD,
    )


def mxfp4_part_wrong(name: str, reason: str) -> Problem:
    """Bytes of another type or shape than the format has, or where the config says dense."""
    return Problem(
        code="MENS-H254",
        what=f"the tensor {clipped(name)} {reason}.",
        fix=_DOWNLOAD,
    )


def mxfp4_scale_is_nan(name: str, dense: str) -> Problem:
    """A scale of 255, which no weights have."""
    return Problem(
        code="MENS-H255",
        what=f"the tensor {clipped(name)} has the scale 255, which stands for NaN, for"
        f" {clipped(dense)}.",
        fix=_DOWNLOAD,
    )


MXFP4_ANNOUNCED_ONLY = Problem(
    code="MENS-H256",
    what="quantization_config says mxfp4, but no tensor is stored in that format.",
    fix="Remove quantization_config from it, or download the quantised weights.",
)
"""A config that announces MXFP4 in a folder without it."""


def mxfp4_not_announced(name: str) -> Problem:
    """Tensors in MXFP4 in a folder whose config does not mention it."""
    return Problem(
        code="MENS-H257",
        what=f"{clipped(name)} is part of a tensor in MXFP4, but quantization_config does not say"
        " mxfp4.",
        fix="Use the config.json that was published with these weights.",
    )


NOTE_READ_AS_DENSE = (
    "its experts are stored in MXFP4 (4 bits) and read as bfloat16 numbers, exactly. LoRA keeps"
    " them in the compute dtype, which takes about four times their size on disk; QLoRA quantises"
    " them to NF4."
)
"""A base with experts in MXFP4."""


NOTE_MERGED_DENSE = (
    "the base's experts are in MXFP4; the merged folder has them as dense numbers, about four times"
    " the size, and no quantization_config. For MXFP4 again, load the folder on a GPU with"
    " transformers' quantization_config=Mxfp4Config() and save it; or leave the base as it is and"
    " serve the adapter beside it (vox mens export-adapter)."
)
"""A merge of a base whose experts are in MXFP4."""
