"""`vox schola merge-qlora`: a QLoRA adapter folded into the base it names. Needs torch."""

from __future__ import annotations

from pathlib import Path

from vox_populi.adapters.header import (
    AdapterHeader,
)
from vox_populi.adapters.lora_bin import AdapterFile
from vox_populi.adapters.v3.artifact_bridge import refuse_burn_bin, require_qlora
from vox_populi.adapters.v3.files import LORA_ADAPTER_FILE, QLORA_ADAPTER_FILE, read_adapter_facts
from vox_populi.adapters.v3.sidecar import Sidecar
from vox_populi.errors import ArtifactError, ConfigError
from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.hf.inventory import ModelInventory, read_inventory
from vox_populi.hf.keymap import HEAD, HEAD_WEIGHT, AdapterModule, canonical_name, embedding_key
from vox_populi.merge.full_graph import MergedGraph, merged_graph, refuse_no_op
from vox_populi.merge.number_type import MergeDtype
from vox_populi.merge.rounded_weight import TrainedBase, trained_base, with_table_as_head
from vox_populi.operator_messages import adapter as say_adapter_forms
from vox_populi.operator_messages import merge as say_merge
from vox_populi.pipeline.adapter_base import check_rows_of, fitting_modules
from vox_populi.pipeline.convert import AdapterForm, ConvertRequest
from vox_populi.pipeline.convert_sources import FoundAdapter, find_adapter, find_v3_adapter
from vox_populi.pipeline.merge import MergeFormat, MergeReport, Onto, QloraMergeRequest
from vox_populi.pipeline.merge_proof import MergeInputs, QloraSide
from vox_populi.pipeline.merge_steps import run_merge
from vox_populi.pipeline.qlora_subset_run import merge_subset
from vox_populi.pipeline.subset_inputs import subset_adapter
from vox_populi.runs.checkpoint_dir import checkpoint_at
from vox_populi.runs.checkpoint_state import ADAPTER_FILE as CHECKPOINT_ADAPTER_FILE
from vox_populi.runs.run_dir import ADAPTER_FILE


def merge(request: QloraMergeRequest) -> MergeReport:
    """Merge a QLoRA adapter into the weights that the request names.

    Raises:
        VoxError: As `pipeline.merge.merge_qlora` says; nothing was published.
    """
    if request.subset and request.output_format is MergeFormat.VOX:
        raise ConfigError(say_merge.subset_no_format("--format"))
    if request.subset and request.dtype not in (MergeDtype.AUTO, MergeDtype.F32):
        raise ConfigError(say_merge.subset_has_one_type("--dtype"))
    file, sidecar = _what_is_merged(request)
    if request.subset:
        return merge_subset(request, subset_adapter(request, file, sidecar))
    return run_merge(_find_inputs(request, file, sidecar), request)


def qlora_inputs(request: QloraMergeRequest) -> MergeInputs:
    """An adapter of the QLoRA backend and its base.

    Raises:
        VoxError: As `pipeline.merge.merge_qlora` says.
    """
    return _find_inputs(request, *_what_is_merged(request))


def _what_is_merged(request: QloraMergeRequest) -> tuple[Path, Sidecar | None]:
    """The adapter's file and what was read beside it; the adapter of a checkpoint has nothing.

    Raises:
        ArtifactError: For what is no QLoRA adapter by its name, first bytes, form or sidecar.
    """
    path = request.adapter
    if path.is_dir() and checkpoint_at(path) is not None:
        if request.meta is not None:
            raise ArtifactError(say_merge.checkpoint_needs_no_sidecar(str(request.meta)))
        return path / CHECKPOINT_ADAPTER_FILE, None
    file = path / QLORA_ADAPTER_FILE if path.is_dir() else path
    if not file.exists() and (path / ADAPTER_FILE).exists():
        file = path / ADAPTER_FILE  # The run of the other backend.
    # Before anything beside it is looked at: a .bin has none of that.
    refuse_burn_bin(file)
    if not any(each.exists() for each in (file, path / LORA_ADAPTER_FILE)):
        raise ArtifactError(say_adapter_forms.no_adapter_there(str(path)))
    if request.meta is not None and not request.meta.exists():
        raise ArtifactError(say_adapter_forms.no_sidecar_there(str(request.meta)))
    sidecar = read_adapter_facts(path, request.meta)
    require_qlora(sidecar.facts, path)
    return file, sidecar


def _find_inputs(request: QloraMergeRequest, file: Path, sidecar: Sidecar | None) -> MergeInputs:
    found = _read_adapter(request, sidecar)
    header = found.header
    if header.quantization is None:
        # Only a checkpoint gets here: a sidecar says so itself.
        raise ArtifactError(say_adapter_forms.burn_bin_refused(str(file)))
    adapter = AdapterFile(header, found.tensors)
    refuse_no_op(adapter, str(file))
    stored = read_inventory(_base_folder(found), allow_nf4=True)
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
        check_rows=check_rows_of(file, header, inventory),
        qlora=QloraSide(trained=trained, onto=onto, other=other),
        notes=(*found.notes, *_notes(request, header, stored, graph)),
    )


def _read_adapter(request: QloraMergeRequest, sidecar: Sidecar | None) -> FoundAdapter:
    asked = ConvertRequest(
        source=request.adapter,
        target=AdapterForm.V3,
        output=request.output,
        base=request.base,
        meta=request.meta,
    )
    if sidecar is None:
        return find_adapter(asked)
    # Weights are merged the same with and without a tokenizer beside them.
    return find_v3_adapter(asked, needs_tokenizer=False)


def _base_folder(found: FoundAdapter) -> Path:
    base = found.base
    if base.folder is None and not base.is_embedded:
        raise ArtifactError(say_merge.base_not_found(found.where))
    return base.folder or embedded_model_dir()


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
