"""`merge-weights` and `merge-qlora`: an adapter folded into its base, proved, published."""

from __future__ import annotations

import time

from vox_populi.errors import ConfigError
from vox_populi.files.output_guard import Reads, require_new_folder, require_room
from vox_populi.files.staged_folder import StagedFolder
from vox_populi.files.whole_file import pretty_json
from vox_populi.merge.choices import MergeFormat
from vox_populi.merge.inputs import MergeInputs, lora_inputs, qlora_inputs
from vox_populi.merge.number_type import MergeDtype
from vox_populi.merge.receipt import RECEIPT_FILE
from vox_populi.merge.steps import digests_of_inputs, merge_model, most_threads, workers_of
from vox_populi.merge.subset import SubsetInputs, merge_subset, subset_inputs
from vox_populi.model.allocator import keep_freed_memory
from vox_populi.operator_messages import environment as say_environment
from vox_populi.operator_messages import merge as say_merge
from vox_populi.pipeline.engine_setup import on_device
from vox_populi.pipeline.machine_probe import require_threads
from vox_populi.pipeline.merge import MergeReport, MergeRequest, QloraMergeRequest

_BESIDES_TENSORS = 64 * 2**20
"""Space for tokenizer, headers and receipt."""


def merge(request: MergeRequest | QloraMergeRequest) -> MergeReport:
    """Write a merge; it appears complete and proved, or not at all.

    Raises:
        VoxError: As the functions of `pipeline.merge` say; nothing was published.
    """
    started = time.perf_counter()
    inputs = _inputs(request)
    require_threads(request.threads)
    _check_output(request, inputs)
    keep_freed_memory()
    threads = request.threads or most_threads()
    # Blocks are handed to threads; inside of one a product must not depend on their number.
    with on_device("cpu", 1), workers_of(threads) as workers, workers_of(2) as disk:
        read, pools = digests_of_inputs(inputs, workers), (workers, disk)
        with StagedFolder.create(request.output, force=request.force) as staged:
            if isinstance(inputs, SubsetInputs):
                receipt = merge_subset(inputs, read, staged, pools)
            else:
                receipt = merge_model(inputs, request, read, staged, pools)
            staged.write(RECEIPT_FILE, pretty_json(receipt.as_json()))
            kept = staged.publish()
    notes = () if kept is None else (say_merge.note_merge_kept_old(kept.name),)
    return MergeReport(
        output=request.output,
        receipt=receipt,
        notes=(*receipt.notes, *notes),
        seconds=time.perf_counter() - started,
    )


def _inputs(request: MergeRequest | QloraMergeRequest) -> MergeInputs | SubsetInputs:
    if isinstance(request, MergeRequest):
        return lora_inputs(request.checkpoint, request.model_dir)
    if not request.subset:
        return qlora_inputs(request.adapter, request.base, request.meta, request.onto)
    if request.output_format is MergeFormat.VOX:
        raise ConfigError(say_merge.SUBSET_NO_FORMAT.at("--format"))
    if request.dtype not in (MergeDtype.AUTO, MergeDtype.F32):
        raise ConfigError(say_merge.subset_has_one_type("--dtype"))
    return subset_inputs(request.adapter, request.base, request.meta, request.onto)


def _check_output(
    request: MergeRequest | QloraMergeRequest, inputs: MergeInputs | SubsetInputs
) -> None:
    """Refuse an output path that cannot be used, before any weights are read.

    Raises:
        PreflightError: When it overlaps an input, or is not empty.
        EnvironmentFailure: When it cannot be written, or the disk is too small.
    """
    base = inputs.base.path if isinstance(inputs, SubsetInputs) else inputs.folder
    reads = Reads(whole=(base, *inputs.found.files))
    require_new_folder(request.output, reads, force=request.force)
    others = {} if inputs.inventory is None else inputs.inventory.others
    room = inputs.graph.total_bytes + sum(info.n_bytes for info in others.values())
    room += _BESIDES_TENSORS
    require_room(request.output, room, say_environment.merge_disk_too_small)
