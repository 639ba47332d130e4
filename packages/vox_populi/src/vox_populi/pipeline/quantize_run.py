"""`vox mens quantize`: a model folder in bitsandbytes' NF4 layout. Needs torch."""

from __future__ import annotations

import time

from vox_populi.errors import ModelError
from vox_populi.files.output_guard import Reads, require_new_folder, require_room
from vox_populi.files.staged_folder import StagedFolder
from vox_populi.hf.inventory import read_inventory
from vox_populi.hf.model_config import CONFIG_NAME
from vox_populi.operator_messages import export as say_export
from vox_populi.operator_messages import model_folder as say_model_folder
from vox_populi.operator_messages import quantize as say_quantize
from vox_populi.pipeline.quantize import QuantizeReport, QuantizeRequest
from vox_populi.quantize.nf4_folder import plan_nf4_folder, write_nf4_folder
from vox_tensor.nf4_levels import Nf4Settings

_BESIDES_TENSORS = 64 * 2**20
"""Room for tokenizer and headers."""


def quantize(request: QuantizeRequest) -> QuantizeReport:
    """Write a model folder whose linear layers are in NF4; it appears complete or not at all.

    Raises:
        VoxError: As `pipeline.quantize.quantize_model` says; nothing was published.
    """
    started = time.perf_counter()
    inventory = read_inventory(request.model_dir, allow_nf4=True, leave_experts=True)
    if inventory.config.experts is not None:
        where, kind = str(request.model_dir / CONFIG_NAME), inventory.config.model_type
        meaning = "experts in 4 bits, which transformers has no form for"
        raise ModelError(say_model_folder.config_unsupported("model_type", kind, meaning).at(where))
    if inventory.config.outer is not None:
        name = inventory.config.outer.name
        raise ModelError(say_quantize.nested_not_quantized(name).at(str(request.model_dir)))
    settings = Nf4Settings(block_size=request.block_size, double_quant=request.double_quant)
    plan = plan_nf4_folder(inventory, settings, request.max_shard_bytes)
    _check_output(request, plan.total_bytes)
    with StagedFolder.create(request.output) as staged:
        digests = write_nf4_folder(plan, inventory, settings, staged)
        written = read_inventory(staged.path, allow_nf4=True, leave_experts=True)
        assert len(written.nf4) == plan.n_packed, "the folder does not read as it was planned"
        staged.publish()
    return QuantizeReport(
        output=request.output,
        files=tuple(sorted(digests)),
        packed=plan.n_packed,
        dense=plan.n_dense,
        block_size=request.block_size,
        double_quant=request.double_quant,
        bytes_before=inventory.total_bytes,
        bytes_after=written.total_bytes,
        seconds=time.perf_counter() - started,
    )


def _check_output(request: QuantizeRequest, tensor_bytes: int) -> None:
    """Refuse a place where nothing can appear, before any weight is read."""
    reads = Reads(whole=(request.model_dir,))
    require_new_folder(request.output, reads, occupied=say_export.EXPORT_TARGET_EXISTS.at)
    too_small = say_quantize.quantized_folder_too_large
    require_room(request.output, tensor_bytes + _BESIDES_TENSORS, too_small)
