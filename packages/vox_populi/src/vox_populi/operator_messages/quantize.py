"""Folders packed in bitsandbytes' NF4 layout (MENS-H070 to H079, H260, H261, E030)."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem

_DENSE = "Use the 16- or 32-bit weights of this model"
_SAVE_AGAIN = "Write the folder again with vox mens quantize or save_pretrained, or download it."


def quantization_unsupported(method: str) -> Problem:
    """Weights quantised in an unsupported format."""
    return Problem(
        code="MENS-H070",
        what=f"quantization_config says {clipped(method)}; the quantised weights that can be read "
        "are bitsandbytes' nf4, and mxfp4 in models that transformers computes (gpt-oss).",
        fix=f"{_DENSE}; vox mens quantize converts them to NF4.",
    )


FOLDER_IS_QUANTIZED = Problem(
    code="MENS-H071",
    what="its weights are quantised (bitsandbytes nf4), but dense ones are needed.",
    fix=f"{_DENSE}. vox mens train --backend qlora trains on the quantised folder as it is.",
)
"""An NF4 folder was passed to a command that needs 16- or 32-bit weights."""


NESTED_IS_PACKED = Problem(
    code="MENS-H260",
    what="its text model is part of a larger model and quantised with it; such a folder cannot be "
    "read.",
    fix=f"{_DENSE}; --backend qlora quantises the text model as it loads.",
)
"""A quantised folder in which a text model is part of a larger one."""


def nested_not_quantized(name: str) -> Problem:
    """`vox mens quantize` was given a folder whose text model is part of a larger one."""
    return Problem(
        code="MENS-H261",
        what=f"a folder of {clipped(name)} is not written in NF4: it holds more than a text model.",
        fix="Train with --backend qlora, which quantises the text model as it loads, or quantise"
        " with transformers and bitsandbytes.",
    )


def nf4_part_missing(weight: str, part: str) -> Problem:
    """A packed weight without all parts needed to unpack it."""
    return Problem(
        code="MENS-H072",
        what=f"the quantised weight {clipped(weight)} has no {part}.",
        fix=_SAVE_AGAIN,
    )


def nf4_part_wrong(name: str, reason: str) -> Problem:
    """A part of a packed weight that contradicts the config, the format or another part."""
    return Problem(
        code="MENS-H073",
        what=f"the tensor {clipped(name)} {reason}.",
        fix=_SAVE_AGAIN,
    )


def nf4_not_announced(name: str) -> Problem:
    """Packed weights that the config does not mention."""
    return Problem(
        code="MENS-H074",
        what=f"it does not mention quantisation, but {clipped(name)} is part of a weight packed by "
        "bitsandbytes.",
        fix="Use the config.json that was saved with these weights.",
    )


NF4_ANNOUNCED_ONLY = Problem(
    code="MENS-H075",
    what="quantization_config says that the weights are quantised, but none of them is.",
    fix="Remove quantization_config from it, or download the quantised weights.",
)
"""A config that announces packed weights in a folder without any."""


def nf4_settings_mixed(first: str, other: str) -> Problem:
    """Two ways of packing in one folder."""
    return Problem(
        code="MENS-H076",
        what=f"{clipped(first)} and {clipped(other)} are quantised with different block sizes, "
        "or only one of them with double quantisation.",
        fix=_SAVE_AGAIN,
    )


def nf4_layer_must_be_dense(weight: str) -> Problem:
    """A packed head or embedding table."""
    return Problem(
        code="MENS-H077",
        what=f"{clipped(weight)} is quantised; only linear layers of the blocks may be.",
        fix="Quantise the model with this layer in llm_int8_skip_modules, or with vox mens "
        "quantize.",
    )


ALREADY_QUANTIZED = Problem(
    code="MENS-H078",
    what="its weights are already quantised.",
    fix=f"{_DENSE}, or train on this folder as it is with --backend qlora.",
)
"""`vox mens quantize` was called on a quantised folder."""


def nf4_scales_overflow(name: str) -> Problem:
    """Finite weights whose magnitudes do not have a finite mean."""
    return Problem(
        code="MENS-H079",
        what=f"the tensor {clipped(name)} has values too large for double quantisation.",
        fix="Turn double quantisation off (--qlora-no-double-quant, --no-double-quant).",
    )


def quantized_folder_too_large(where: str, needed: int, free: int) -> Problem:
    """The quantised folder would not fit on the disk."""
    return Problem(
        code="MENS-E030",
        what=f"the quantised folder needs {needed / 2**30:.2f} GiB, but only {free / 2**30:.2f} "
        "GiB are free there.",
        fix="Free some space, or choose an --output-dir on another disk.",
        where=where,
    )


def note_nf4_cache_written(where: str) -> str:
    """The first run with a cache folder."""
    return f"Quantised the base and kept it in {where} for later runs."


def note_nf4_cache_used(where: str) -> str:
    """Any later run."""
    return f"Read the quantised base from {where}; checksums verified."


def note_nf4_cache_damaged(where: str, reason: str) -> str:
    """A cache whose bytes have changed since they were written."""
    return f"The quantised base in {where} was damaged ({clipped(reason)}) and was rebuilt."


def note_nf4_cache_rest(where: str) -> str:
    """A damaged cache entry contained foreign files."""
    return f"The damaged entry contained files of something else; they are kept in {where}."


def note_nf4_cache_busy(where: str) -> str:
    """Two first runs at once."""
    return (
        f"Another process is writing the quantised base {where}; this run quantises in memory, "
        "with the same numbers."
    )


def note_nf4_cache_unused(reason: str) -> str:
    """A cache folder that has no effect here."""
    return f"--nf4-cache-dir has no effect: {reason}."


def nf4_cache_unusable(reason: str) -> Problem:
    """The folder cannot be used for quantised bases."""
    return Problem(
        code="MENS-P023",
        what=f"the folder of quantised bases cannot be used: {reason}.",
        fix="Choose another --nf4-cache-dir, or omit it.",
    )


def note_prequantized(flag: str, asked: str, stored: str) -> str:
    """A base already stored in NF4 is used as it is."""
    return f"{flag} has no effect: this base is already stored in NF4 ({stored}, not {asked})."


def note_base_prequantized(block_size: int, *, double_quant: bool) -> str:
    """A base that is not quantised again."""
    nested = "double" if double_quant else "single"
    return (
        f"this base is already stored in NF4: block size {block_size}, {nested} quantisation,"
        " loaded as it is."
    )


def note_dense_copies(chosen: str, estimates: Sequence[tuple[str, int]]) -> str:
    """The memory each policy would need, and the chosen one."""
    sizes = ", ".join(f"{name} {size / 2**20:,.1f} MiB" for name, size in estimates)
    return f"dense copies of the 4-bit weights: {chosen}; estimates: {sizes} (--nf4-cache)."


def note_nf4_by_torch(reason: str) -> str:
    """The use of torch instead of the Triton kernel, with the same numbers but slower."""
    return (
        f"Triton is not used ({clipped(reason)}): torch dequantises the 4-bit weights, with the"
        " same numbers but more slowly. On Linux, Triton is installed together with torch for CUDA."
    )


NOTE_NF4_ON_CPU = (
    "the GPU does not quantise to the bytes that the CPU makes, so the CPU quantises the base;"
    " --nf4-cache-dir keeps the result for the next run."
)
"""The CPU quantises, since the device does it a little differently."""
