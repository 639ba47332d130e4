"""`vox mens merge-weights`: a LoRA adapter folded into its base and checked. Needs torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vox_populi.adapters.base import fitting_modules, require_lora
from vox_populi.adapters.v3.names import LORA_ADAPTER_FILE
from vox_populi.errors import ArtifactError
from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.hf.inventory import read_inventory
from vox_populi.merge.full_graph import merged_graph, refuse_no_op
from vox_populi.operator_messages import merge as say
from vox_populi.pipeline.merge import MergeReport, MergeRequest
from vox_populi.pipeline.merge_proof import MergeInputs
from vox_populi.pipeline.merge_steps import run_merge
from vox_populi.runs.adapter_place import AdapterForm, AdapterPlace, adapter_at
from vox_populi.runs.check_rows import check_rows_of_run
from vox_populi.runs.find_adapter import FoundAdapter, read_adapter
from vox_populi.runs.run_dir import ADAPTER_FILE


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
        model_dir: The base, if it has moved since training.

    Raises:
        VoxError: As `pipeline.merge.merge_weights` says.
    """
    found = _find_lora(path, model_dir)
    adapter, where = found.adapter, found.where
    require_lora(adapter.header, found.place.file)
    refuse_no_op(adapter, where)
    folder = found.base_folder()
    inventory = read_inventory(folder or embedded_model_dir())
    modules = fitting_modules(inventory, adapter.header, where)
    return MergeInputs(
        checkpoint=found.place.file,
        adapter=adapter,
        inventory=inventory,
        modules=modules,
        graph=merged_graph(inventory, adapter, modules),
        check_rows=check_rows_of_run(found.place.run, adapter.header, inventory),
    )


def _find_lora(path: Path, model_dir: Path | None) -> FoundAdapter:
    place = adapter_at(path)
    if place is None or place.form is AdapterForm.PEFT:
        place = AdapterPlace(AdapterForm.LORA_BIN, path / ADAPTER_FILE if path.is_dir() else path)
    name = place.file.name.lower()
    if place.form is AdapterForm.V3 and ("qlora_adapter" in name or name == LORA_ADAPTER_FILE):
        raise ArtifactError(say.merge_checkpoint_is_qlora(str(path)))
    # Whatever else it is, the reader of `.bin` files says what is wrong with it.
    return read_adapter(replace(place, form=AdapterForm.LORA_BIN), model_dir)
