"""Folders whose weights are packed in bitsandbytes' NF4 layout (MENS-H070 to H079, E030)."""

from __future__ import annotations

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem

_DENSE = "Use the 16- or 32-bit weights of this model"
_SAVE_AGAIN = "Write the folder again with vox mens quantize or save_pretrained, or fetch it again."


def quantization_unsupported(where: str, method: str) -> Problem:
    """Weights that somebody quantised in another form than ours."""
    return Problem(
        code="MENS-H070",
        what=f"quantization_config says {clipped(method)}; of all quantised weights, only "
        "bitsandbytes' nf4 can be read.",
        fix=f"{_DENSE}; vox mens quantize makes nf4 of them.",
        where=where,
    )


def folder_is_quantized(where: str) -> Problem:
    """An NF4 folder for a command that computes with 16- or 32-bit weights."""
    return Problem(
        code="MENS-H071",
        what="its weights are quantised (bitsandbytes nf4), and this needs dense ones.",
        fix=f"{_DENSE}. vox mens train --backend qlora trains on the quantised folder as it is.",
        where=where,
    )


def nf4_part_missing(where: str, weight: str, part: str) -> Problem:
    """A packed weight without what it takes to unpack it."""
    return Problem(
        code="MENS-H072",
        what=f"the quantised weight {clipped(weight)} has no {part}.",
        fix=_SAVE_AGAIN,
        where=where,
    )


def nf4_part_wrong(where: str, name: str, reason: str) -> Problem:
    """A part of a packed weight that contradicts the config, the format or another part."""
    return Problem(
        code="MENS-H073",
        what=f"the tensor {clipped(name)} {reason}.",
        fix=_SAVE_AGAIN,
        where=where,
    )


def nf4_not_announced(where: str, name: str) -> Problem:
    """Packed weights beside a config that says nothing of them."""
    return Problem(
        code="MENS-H074",
        what=f"it says nothing of quantisation, but {clipped(name)} is part of a weight that "
        "bitsandbytes packed.",
        fix="Use the config.json that was saved with these weights.",
        where=where,
    )


def nf4_announced_only(where: str) -> Problem:
    """A config that announces packed weights, and none is there."""
    return Problem(
        code="MENS-H075",
        what="quantization_config says that the weights are quantised, and none of them is.",
        fix="Remove quantization_config from it, or fetch the quantised weights.",
        where=where,
    )


def nf4_settings_mixed(where: str, first: str, other: str) -> Problem:
    """Two ways of packing in one folder."""
    return Problem(
        code="MENS-H076",
        what=f"{clipped(first)} and {clipped(other)} are quantised with different block sizes, "
        "or only one of them with double quantisation.",
        fix=_SAVE_AGAIN,
        where=where,
    )


def nf4_layer_must_be_dense(where: str, weight: str) -> Problem:
    """A head or an embedding table that was packed as well."""
    return Problem(
        code="MENS-H077",
        what=f"{clipped(weight)} is quantised; only linear layers of the blocks may be.",
        fix="Quantise the model with this layer in llm_int8_skip_modules, or with vox mens "
        "quantize.",
        where=where,
    )


def already_quantized(where: str) -> Problem:
    """`vox mens quantize` on a folder that is packed."""
    return Problem(
        code="MENS-H078",
        what="its weights are quantised already.",
        fix=f"{_DENSE}, or train on this folder as it is with --backend qlora.",
        where=where,
    )


def nf4_scales_overflow(where: str, name: str) -> Problem:
    """Finite weights whose magnitudes have no finite mean."""
    return Problem(
        code="MENS-H079",
        what=f"the tensor {clipped(name)} holds values too large for double quantisation.",
        fix="Switch double quantisation off (--qlora-no-double-quant, --no-double-quant).",
        where=where,
    )


def quantized_folder_too_large(where: str, needed: int, free: int) -> Problem:
    """The quantised folder would not fit beside what is there."""
    return Problem(
        code="MENS-E030",
        what=f"the quantised folder takes {needed / 2**30:.2f} GiB, {free / 2**30:.2f} GiB are "
        "free there.",
        fix="Free some space, or name an --output-dir on another disk.",
        where=where,
    )


def note_nf4_cache_written(where: str) -> str:
    """The first run with a cache folder."""
    return f"Quantised the base once and kept it in {where} for the next runs."


def note_nf4_cache_used(where: str) -> str:
    """Any later run."""
    return f"Read the quantised base from {where}; its digests are right."


def note_nf4_cache_damaged(where: str, reason: str) -> str:
    """A cache whose bytes are no longer those that were written."""
    return f"The quantised base in {where} was damaged ({clipped(reason)}) and was made again."


def note_nf4_cache_rest(where: str) -> str:
    """Files of somebody else lay in a damaged cache entry."""
    return f"Files that no cache has lay in the damaged entry; they are kept in {where}."


def note_nf4_cache_busy(where: str) -> str:
    """Two first runs at once."""
    return (
        f"Another process is writing the quantised base {where}; this run quantises its own in "
        "memory, with the same numbers."
    )


def note_nf4_cache_unused(reason: str) -> str:
    """A cache folder that has no effect here."""
    return f"--nf4-cache-dir has no effect: {reason}."
