"""`vox schola merge-qlora`: a QLoRA adapter folded into its base. Needs torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vox_populi.adapters.adapter import Adapter
from vox_populi.adapters.base import fitting_modules
from vox_populi.adapters.header import AdapterHeader
from vox_populi.adapters.v3.burn_bin import refuse_burn_bin
from vox_populi.adapters.v3.facts import require_qlora
from vox_populi.adapters.v3.sidecar import Sidecar
from vox_populi.errors import ArtifactError, ConfigError
from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.hf.inventory import ModelInventory, read_inventory
from vox_populi.hf.keymap import HEAD, HEAD_WEIGHT, AdapterModule, canonical_name, embedding_key
from vox_populi.merge.full_graph import MergedGraph, merged_graph, refuse_no_op
from vox_populi.merge.number_type import MergeDtype
from vox_populi.merge.rounded_weight import TrainedBase, trained_base, with_table_as_head
from vox_populi.operator_messages import adapter as say_adapter
from vox_populi.operator_messages import merge as say_merge
from vox_populi.pipeline.merge import MergeFormat, MergeReport, Onto, QloraMergeRequest
from vox_populi.pipeline.merge_proof import MergeInputs, QloraSide
from vox_populi.pipeline.merge_steps import run_merge
from vox_populi.pipeline.qlora_subset_run import merge_subset
from vox_populi.pipeline.subset_inputs import subset_adapter
from vox_populi.runs.adapter_place import AdapterForm, AdapterPlace, adapter_at
from vox_populi.runs.check_rows import check_rows_of_run
from vox_populi.runs.find_adapter import FoundAdapter, read_adapter


def merge(request: QloraMergeRequest) -> MergeReport:
    """Merge a QLoRA adapter into the chosen weights.

    Raises:
        VoxError: As `pipeline.merge.merge_qlora` says; nothing was published.
    """
    if request.subset and request.output_format is MergeFormat.VOX:
        raise ConfigError(say_merge.subset_no_format("--format"))
    if request.subset and request.dtype not in (MergeDtype.AUTO, MergeDtype.F32):
        raise ConfigError(say_merge.subset_has_one_type("--dtype"))
    if request.subset:
        return merge_subset(request, subset_adapter(find_qlora(request)))
    return run_merge(qlora_inputs(request), request)


def find_qlora(request: QloraMergeRequest) -> FoundAdapter:
    """An adapter of the QLoRA backend; a checkpoint's adapter has no sidecar.

    Raises:
        ArtifactError: For what is not a QLoRA adapter by its name, first bytes, form or sidecar.
    """
    path = request.adapter
    place = adapter_at(path)
    if place is None or (place.form is AdapterForm.PEFT and path.is_dir()):
        raise ArtifactError(say_adapter.no_adapter_there(str(path)))
    if place.checkpoint is not None:
        if request.meta is not None:
            raise ArtifactError(say_merge.checkpoint_needs_no_sidecar(str(request.meta)))
        return _of_checkpoint(place, request.base)
    # Before anything beside it is looked at: a .bin has none of that.
    refuse_burn_bin(place.file)
    if not place.file.exists():
        raise ArtifactError(say_adapter.no_adapter_there(str(path)))
    if request.meta is not None and not request.meta.exists():
        raise ArtifactError(say_adapter.no_sidecar_there(str(request.meta)))
    found = read_adapter(replace(place, form=AdapterForm.V3), request.base, request.meta)
    assert found.sidecar is not None, "without one it was refused"
    require_qlora(found.sidecar.facts, path)
    return found


def _of_checkpoint(place: AdapterPlace, base: Path | None) -> FoundAdapter:
    found = read_adapter(place, base)
    if found.adapter.header.quantization is None:
        raise ArtifactError(say_adapter.burn_bin_refused(found.where))
    return found


def qlora_inputs(request: QloraMergeRequest) -> MergeInputs:
    """An adapter of the QLoRA backend and its base.

    Raises:
        VoxError: As `pipeline.merge.merge_qlora` says.
    """
    # Weights are merged the same with and without a tokenizer beside them.
    found = find_qlora(request).on_its_base(needs_tokenizer=False)
    adapter, sidecar, file = found.adapter, found.sidecar, found.place.file
    header = adapter.header
    assert header.quantization is not None, "others were refused"
    refuse_no_op(adapter, str(file))
    folder = found.base_folder(say_merge.base_not_found(found.where))
    stored = read_inventory(folder or embedded_model_dir(), allow_nf4=True)
    modules = fitting_modules(stored, header, str(file))
    inventory = _as_trained(stored, header, sidecar)
    trained = trained_base(inventory, header, header.quantization, modules)
    onto = request.onto or Onto.DEQUANT
    if onto is Onto.ORIGINAL and inventory.nf4:
        raise ArtifactError(say_merge.original_is_packed(str(inventory.model_dir)))
    graph, other = _both_graphs(adapter, modules, trained, onto)
    return MergeInputs(
        checkpoint=file,
        sidecars=() if sidecar is None else (sidecar.path,),
        adapter=adapter,
        inventory=inventory,
        modules=modules,
        graph=graph,
        check_rows=check_rows_of_run(found.place.run, header, inventory),
        qlora=QloraSide(trained=trained, onto=onto, other=other),
        notes=(*found.notes, *_notes(request, header, stored, graph)),
    )


def _as_trained(
    stored: ModelInventory, header: AdapterHeader, sidecar: Sidecar | None
) -> ModelInventory:
    """The base with the head that training saw, if the adapter has an update for it.

    In the proxy graphs, and in all of the source system's, that is the embedding table.
    """
    if stored.tied_head or all(module.ours != HEAD for module in header.modules):
        return stored
    is_table = header.graph.is_proxy
    if sidecar is not None:
        key = canonical_name(stored.config, sidecar.facts.base_key_map[HEAD])
        is_table = is_table or key == embedding_key(stored.config)
    return with_table_as_head(stored) if is_table else stored


def _both_graphs(
    adapter: Adapter, modules: tuple[AdapterModule, ...], trained: TrainedBase, onto: Onto
) -> tuple[MergedGraph, MergedGraph | None]:
    """The requested merge, and the one into the other weights."""
    inventory = trained.inventory
    rounded = merged_graph(inventory, adapter, modules, trained)
    plain = None if inventory.nf4 else merged_graph(inventory, adapter, modules)
    if onto is Onto.DEQUANT:
        return rounded, plain
    assert plain is not None, "a base without original weights was refused"
    return plain, rounded


def _notes(
    request: QloraMergeRequest,
    header: AdapterHeader,
    stored: ModelInventory,
    graph: MergedGraph,
) -> tuple[str, ...]:
    notes = []
    if request.onto is None:
        notes.append(say_merge.note_onto_default(Onto.DEQUANT.value))
    head = next((tensor for tensor in graph.tensors if tensor.key.ours == HEAD_WEIGHT), None)
    if head is not None and stored.tied_head:
        notes.append(say_merge.note_head_untied())
    elif head is not None and head.source.name != stored.tensors[HEAD_WEIGHT].name:
        notes.append(say_merge.note_head_replaced())
    if header.graph.is_proxy:
        notes.append(say_merge.note_proxy_merged(header.graph))
    return tuple(notes)
