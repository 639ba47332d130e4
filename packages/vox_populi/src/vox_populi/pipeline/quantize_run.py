"""`vox mens quantize`: a model folder in bitsandbytes' NF4 layout. Needs torch."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from vox_populi import operator_messages as say
from vox_populi.artifacts.new_folder import check_new_folder
from vox_populi.errors import ArtifactError, EnvironmentFailure
from vox_populi.hf.inventory import read_inventory
from vox_populi.merge.nf4_folder import plan_nf4_folder, write_nf4_folder
from vox_populi.merge.staged_folder import StagedFolder
from vox_populi.model.nf4_load import Nf4Settings
from vox_populi.operator_messages import quantized
from vox_populi.pipeline.quantize_report import QuantizeReport, QuantizeRequest

_BESIDES_TENSORS = 64 * 2**20
"""Room for tokenizer and headers."""


def quantize(request: QuantizeRequest) -> QuantizeReport:
    """Write a model folder whose linear layers are in NF4; it appears complete or not at all.

    Raises:
        VoxError: As `pipeline.dispatch.quantize_model` says; nothing was published.
    """
    started = time.perf_counter()
    inventory = read_inventory(request.model_dir, allow_nf4=True)
    settings = Nf4Settings(block_size=request.block_size, double_quant=request.double_quant)
    plan = plan_nf4_folder(inventory, settings, request.max_shard_bytes)
    _check_output(request, plan.total_bytes)
    with StagedFolder.create(request.output) as staged:
        digests = write_nf4_folder(plan, inventory, settings, staged)
        written = read_inventory(staged.path, allow_nf4=True)
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
    where = str(request.output)
    target, source = request.output.resolve(), request.model_dir.resolve()
    if target == source or source in target.parents or target in source.parents:
        raise ArtifactError(say.merge_output_overlaps(where, str(request.model_dir)))
    check_new_folder(request.output)
    needed = tensor_bytes + _BESIDES_TENSORS
    try:
        free = shutil.disk_usage(_nearest(target)).free
    except OSError as error:
        raise EnvironmentFailure(say.file_not_written(where, error)) from error
    if free < needed:
        raise EnvironmentFailure(quantized.quantized_folder_too_large(where, needed, free))


def _nearest(target: Path) -> Path:
    return next(folder for folder in (target, *target.parents) if folder.exists())
