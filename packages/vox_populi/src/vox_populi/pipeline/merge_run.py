"""`vox mens merge-weights`: a LoRA adapter folded into its base, proved, published. Needs torch."""

from __future__ import annotations

from pathlib import Path

from vox_populi.adapters.lora_bin import read_adapter_bin
from vox_populi.adapters.v3.artifact_bridge import require_lora
from vox_populi.errors import ArtifactError
from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.hf.inventory import read_inventory
from vox_populi.merge.full_graph import merged_graph, refuse_no_op
from vox_populi.operator_messages import merge as say
from vox_populi.pipeline.adapter_base import base_folder, check_rows_of, fitting_modules
from vox_populi.pipeline.merge import MergeReport, MergeRequest
from vox_populi.pipeline.merge_proof import MergeInputs
from vox_populi.pipeline.merge_steps import run_merge
from vox_populi.runs.checkpoint_dir import checkpoint_at
from vox_populi.runs.checkpoint_state import ADAPTER_FILE as CHECKPOINT_ADAPTER_FILE
from vox_populi.runs.run_dir import ADAPTER_FILE, QLORA_ADAPTER_FILE


def merge(request: MergeRequest) -> MergeReport:
    """Merge an adapter into its base.

    Raises:
        VoxError: As `pipeline.merge.merge_weights` says; nothing was published.
    """
    return run_merge(lora_inputs(request.checkpoint, request.model_dir), request)


def lora_inputs(path: Path, model_dir: Path | None) -> MergeInputs:
    """An adapter of the LoRA backend and its base.

    Args:
        path: The adapter's file, or the folder of a run or checkpoint.
        model_dir: The base, if not where it was in training.

    Raises:
        VoxError: As `pipeline.merge.merge_weights` says.
    """
    checkpoint = _adapter_file(path)
    where = str(checkpoint)
    adapter = read_adapter_bin(checkpoint)
    require_lora(adapter.header, checkpoint)
    refuse_no_op(adapter, where)
    folder = base_folder(model_dir, checkpoint, adapter.header)
    inventory = read_inventory(folder or embedded_model_dir())
    modules = fitting_modules(inventory, adapter.header, where)
    return MergeInputs(
        checkpoint=checkpoint,
        adapter=adapter,
        inventory=inventory,
        modules=modules,
        graph=merged_graph(inventory, adapter, modules),
        check_rows=check_rows_of(checkpoint, adapter.header, inventory),
    )


def _adapter_file(checkpoint: Path) -> Path:
    """The adapter that a path means: itself, or that of a checkpoint or run folder."""
    if checkpoint.is_dir():
        if checkpoint_at(checkpoint) is not None:
            return checkpoint / CHECKPOINT_ADAPTER_FILE
        if (checkpoint / QLORA_ADAPTER_FILE).exists():
            raise ArtifactError(say.merge_checkpoint_is_qlora(str(checkpoint)))
        return checkpoint / ADAPTER_FILE
    name = checkpoint.name.lower()
    is_foreign = "candle_qlora" in name or "qlora_adapter" in name or name == "adapter.safetensors"
    if checkpoint.suffix == ".safetensors" and is_foreign:
        raise ArtifactError(say.merge_checkpoint_is_qlora(str(checkpoint)))
    return checkpoint
