"""`vox schola merge-qlora`: a QLoRA adapter folded into the base it names. Needs torch."""

from __future__ import annotations

from pathlib import Path

from vox_populi.artifacts.adapter_header import PROXY_GRAPHS
from vox_populi.artifacts.adapter_sidecar import Sidecar
from vox_populi.artifacts.adapter_v3 import QLORA_ADAPTER_FILE, read_adapter_facts
from vox_populi.artifacts.artifact_bridge import refuse_burn_bin, require_qlora
from vox_populi.artifacts.checkpoint_dir import checkpoint_at
from vox_populi.artifacts.checkpoint_file import AdapterFile
from vox_populi.artifacts.checkpoint_state import ADAPTER_FILE as CHECKPOINT_ADAPTER_FILE
from vox_populi.errors import ArtifactError
from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.hf.inventory import ModelInventory, read_inventory
from vox_populi.hf.keymap import AdapterModule
from vox_populi.merge.full_graph import HEAD_WEIGHT, MergedGraph, merged_graph, refuse_no_op
from vox_populi.merge.rounded_weight import TrainedBase, trained_base
from vox_populi.operator_messages import adapter_forms, merge_qlora
from vox_populi.pipeline.adapter_base import fitting_modules
from vox_populi.pipeline.convert_reports import AdapterForm, ConvertRequest
from vox_populi.pipeline.convert_sources import FoundAdapter, find_adapter
from vox_populi.pipeline.merge_report import MergeReport
from vox_populi.pipeline.merge_steps import MergeInputs, QloraSide, run_merge
from vox_populi.pipeline.qlora_subset_run import merge_subset
from vox_populi.pipeline.requests import Onto, QloraMergeRequest


def merge(request: QloraMergeRequest) -> MergeReport:
    """Merge a QLoRA adapter into the weights that the request names.

    Raises:
        VoxError: As `pipeline.dispatch.merge_qlora` says; nothing was published.
    """
    is_checkpoint = _is_checkpoint(request.adapter)
    if not is_checkpoint:
        # Before anything beside it is looked at: a .bin has none of that.
        file = request.adapter
        refuse_burn_bin(file / QLORA_ADAPTER_FILE if file.is_dir() else file)
        sidecar = read_adapter_facts(request.adapter, request.meta)
        require_qlora(sidecar.facts, request.adapter)
        if request.subset:
            return merge_subset(request, sidecar)
        return run_merge(_find_inputs(request, sidecar), request)
    return run_merge(_find_inputs(request, None), request)


def _is_checkpoint(path: Path) -> bool:
    return path.is_dir() and checkpoint_at(path) is not None


def _find_inputs(request: QloraMergeRequest, sidecar: Sidecar | None) -> MergeInputs:
    found = find_adapter(
        ConvertRequest(
            source=request.adapter,
            target=AdapterForm.V3,
            output=request.output,
            base=request.base,
            meta=request.meta,
        )
    )
    header = found.header
    file, sidecars = _files_of(request.adapter, sidecar)
    if header.quantization is None:
        raise ArtifactError(adapter_forms.form_is_not_qlora(str(file), "lora", "none"))
    adapter = AdapterFile(header, found.tensors)
    refuse_no_op(adapter, str(file))
    inventory = read_inventory(_base_folder(found), allow_nf4=True)
    modules = fitting_modules(inventory, header, str(file))
    trained = trained_base(inventory, header, header.quantization, modules)
    onto = request.onto or Onto.DEQUANT
    if onto is Onto.ORIGINAL and inventory.nf4:
        raise ArtifactError(merge_qlora.original_is_packed(str(inventory.model_dir)))
    graph, other = _both_graphs(adapter, modules, trained, onto)
    return MergeInputs(
        checkpoint=file,
        sidecars=sidecars,
        adapter=adapter,
        inventory=inventory,
        modules=modules,
        graph=graph,
        qlora=QloraSide(trained=trained, onto=onto, other=other),
        notes=(*found.notes, *_notes(request, adapter, inventory, graph)),
    )


def _base_folder(found: FoundAdapter) -> Path:
    base = found.base
    if base.folder is None and not base.is_embedded:
        raise ArtifactError(merge_qlora.base_not_found(found.where))
    return base.folder or embedded_model_dir()


def _files_of(adapter: Path, sidecar: Sidecar | None) -> tuple[Path, tuple[Path, ...]]:
    """The file that the tensors were read from, and what was read with it."""
    if sidecar is None:
        return adapter / CHECKPOINT_ADAPTER_FILE, ()
    file = adapter / QLORA_ADAPTER_FILE if adapter.is_dir() else adapter
    return file, (sidecar.path,)


def _both_graphs(
    adapter: AdapterFile, modules: tuple[AdapterModule, ...], trained: TrainedBase, onto: Onto
) -> tuple[MergedGraph, MergedGraph | None]:
    """The merge that was asked for, and the one onto the other weights."""
    inventory = trained.inventory
    rounded = merged_graph(inventory, adapter, modules, trained)
    plain = None if inventory.nf4 else merged_graph(inventory, adapter, modules)
    if onto is Onto.DEQUANT:
        return rounded, plain
    assert plain is not None, "a base without original weights was refused"
    return plain, rounded


def _notes(
    request: QloraMergeRequest,
    adapter: AdapterFile,
    inventory: ModelInventory,
    graph: MergedGraph,
) -> tuple[str, ...]:
    notes = []
    if request.onto is None:
        notes.append(merge_qlora.note_onto_default(Onto.DEQUANT.value))
    if inventory.tied_head and any(tensor.key.ours == HEAD_WEIGHT for tensor in graph.tensors):
        notes.append(merge_qlora.note_head_untied())
    if adapter.header.graph in PROXY_GRAPHS:
        notes.append(merge_qlora.note_proxy_merged(adapter.header.graph))
    return tuple(notes)
