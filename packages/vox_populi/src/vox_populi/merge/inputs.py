"""The inputs of merging a whole model: the adapter, its base and the update of each tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from vox_populi.adapters.adapter import Adapter
from vox_populi.adapters.base import fitting_modules, leaves_experts, require_lora, version_notes
from vox_populi.adapters.header import AdapterHeader
from vox_populi.adapters.v3.burn_bin import is_burn_bin_name
from vox_populi.adapters.v3.facts import require_qlora
from vox_populi.adapters.v3.names import LORA_ADAPTER_FILE
from vox_populi.adapters.v3.sidecar import Sidecar
from vox_populi.errors import ArtifactError
from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.hf.inventory import ModelInventory, read_inventory
from vox_populi.hf.keymap import HEAD, HEAD_WEIGHT, AdapterModule, canonical_name, embedding_key
from vox_populi.hf.model_config import CONFIG_NAME
from vox_populi.merge.choices import Onto
from vox_populi.merge.full_graph import MergedGraph, merged_graph, refuse_no_op
from vox_populi.merge.rounded_weight import TrainedBase, trained_base, with_table_as_head
from vox_populi.operator_messages import adapter as say_adapter
from vox_populi.operator_messages import merge as say_merge
from vox_populi.operator_messages.mxfp4 import NOTE_MERGED_DENSE
from vox_populi.runs.adapter_place import AdapterForm, AdapterPlace, adapter_at
from vox_populi.runs.check_rows import CheckRows, check_rows_of_run
from vox_populi.runs.find_adapter import FoundAdapter, read_adapter
from vox_populi.runs.run_dir import ADAPTER_FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class QloraSide:
    """Additional inputs for an adapter that was trained on rounded weights."""

    trained: TrainedBase
    onto: Onto
    other: MergedGraph | None
    """The merge into the other weights; `None` if the base has no others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeInputs:
    """A whole model to merge, checked to belong together; nothing is written yet."""

    found: FoundAdapter
    inventory: ModelInventory
    modules: tuple[AdapterModule, ...]
    graph: MergedGraph
    check_rows: CheckRows | None = None
    """Check rows of the adapter's run."""
    qlora: QloraSide | None = None
    notes: tuple[str, ...] = ()

    @property
    def adapter(self) -> Adapter:
        """The adapter to merge."""
        return self.found.adapter

    @property
    def where(self) -> str:
        """The adapter's name in messages."""
        return self.found.where

    @property
    def folder(self) -> Path:
        """The base's folder."""
        return self.inventory.model_dir

    @property
    def base_files(self) -> tuple[str, ...]:
        """The files of the base that are read."""
        return (CONFIG_NAME, *self.inventory.shards)

    @property
    def is_onto_other_weights(self) -> bool:
        """Whether the update is added to weights other than those it was trained on."""
        return self.qlora is not None and self.qlora.onto is Onto.ORIGINAL


def lora_inputs(path: Path, base: Path | None) -> MergeInputs:
    """Find an adapter of the LoRA backend and its base.

    Args:
        path: The adapter's file, or the folder of a run or checkpoint.
        base: The base, if not where it was in training.

    Raises:
        VoxError: As `pipeline.merge.merge_weights` says.
    """
    found = _find_lora(path, base)
    adapter, where = found.adapter, found.where
    require_lora(adapter.header, found.place.file)
    refuse_no_op(adapter, where)
    folder = found.base_folder() or embedded_model_dir()
    inventory = read_inventory(folder, source=adapter.header.source)
    modules = fitting_modules(inventory, adapter.header, where)
    return MergeInputs(
        found=found,
        inventory=inventory,
        modules=modules,
        graph=merged_graph(inventory, adapter, modules),
        check_rows=check_rows_of_run(found.place.run, adapter.header, inventory),
        notes=tuple(_base_notes(inventory, adapter.header)),
    )


def _find_lora(path: Path, base: Path | None) -> FoundAdapter:
    place = adapter_at(path)
    if place is None or place.form is AdapterForm.PEFT:
        place = AdapterPlace(AdapterForm.LORA_BIN, path / ADAPTER_FILE if path.is_dir() else path)
    name = place.file.name.lower()
    if place.form is AdapterForm.V3 and ("qlora_adapter" in name or name == LORA_ADAPTER_FILE):
        raise ArtifactError(say_merge.MERGE_CHECKPOINT_IS_QLORA.at(str(path)))
    # Whatever else it is, the reader of `.bin` files says what is wrong with it.
    return read_adapter(replace(place, form=AdapterForm.LORA_BIN), base)


def find_qlora(path: Path, base: Path | None, meta: Path | None) -> FoundAdapter:
    """Find an adapter of the QLoRA backend; a checkpoint's adapter has no sidecar.

    Raises:
        ArtifactError: If name, first bytes, form or sidecar show that it is not a QLoRA adapter.
    """
    place = adapter_at(path)
    if place is None or (place.form is AdapterForm.PEFT and path.is_dir()):
        raise ArtifactError(say_adapter.NO_ADAPTER_THERE.at(str(path)))
    if place.checkpoint is not None:
        if meta is not None:
            raise ArtifactError(say_merge.CHECKPOINT_NEEDS_NO_SIDECAR.at(str(meta)))
        found = read_adapter(place, base)
        if found.adapter.header.quantization is None:
            raise ArtifactError(say_adapter.BURN_BIN_REFUSED.at(found.where))
        return found
    # Before anything beside it is looked at: a .bin has none of that.
    if is_burn_bin_name(str(place.file)):
        raise ArtifactError(say_adapter.BURN_BIN_REFUSED.at(str(place.file)))
    if not place.file.exists():
        raise ArtifactError(say_adapter.NO_ADAPTER_THERE.at(str(path)))
    if meta is not None and not meta.exists():
        raise ArtifactError(say_adapter.NO_SIDECAR_THERE.at(str(meta)))
    if place.form is not AdapterForm.V3:
        place = AdapterPlace(AdapterForm.V3, place.file)
    found = read_adapter(place, base, meta)
    assert found.sidecar is not None, "without one it was refused"
    require_qlora(found.sidecar.facts, path)
    return found


def qlora_inputs(
    path: Path, base: Path | None, meta: Path | None = None, onto: Onto | None = None
) -> MergeInputs:
    """Find an adapter of the QLoRA backend and its base.

    Args:
        path: The adapter's file, or the folder of a run or checkpoint.
        base: The base, if not where it was in training.
        meta: The adapter's sidecar, if it is not beside it.
        onto: The weights to add the update to; `None`: those it was trained on.

    Raises:
        VoxError: As `pipeline.merge.merge_qlora` says.
    """
    # Weights are merged the same with and without a tokenizer beside them.
    found = find_qlora(path, base, meta).on_its_base(needs_tokenizer=False)
    adapter, header, where = found.adapter, found.adapter.header, found.where
    assert header.quantization is not None, "others were refused"
    refuse_no_op(adapter, where)
    folder = found.base_folder(say_merge.BASE_NOT_FOUND.at(where))
    stored = read_inventory(
        folder or embedded_model_dir(),
        allow_nf4=True,
        source=header.source,
        leave_experts=leaves_experts(header),
    )
    modules = fitting_modules(stored, header, where)
    inventory = _as_trained(stored, header, found.sidecar)
    trained = trained_base(inventory, header, header.quantization, modules)
    if onto is Onto.ORIGINAL and inventory.nf4:
        raise ArtifactError(say_merge.ORIGINAL_IS_PACKED.at(str(inventory.model_dir)))
    side, graph = _sides(adapter, modules, trained, onto or Onto.DEQUANT)
    default = (say_merge.note_onto_default(Onto.DEQUANT.value),) if onto is None else ()
    return MergeInputs(
        found=found,
        inventory=inventory,
        modules=modules,
        graph=graph,
        check_rows=check_rows_of_run(found.place.run, header, inventory),
        qlora=side,
        notes=(
            *found.notes,
            *default,
            *_notes(header, stored, graph),
            *_base_notes(inventory, header),
        ),
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


def _sides(
    adapter: Adapter, modules: tuple[AdapterModule, ...], trained: TrainedBase, onto: Onto
) -> tuple[QloraSide, MergedGraph]:
    """The facts about training, with the merge into the other weights, and the requested merge."""
    inventory = trained.inventory
    rounded = merged_graph(inventory, adapter, modules, trained)
    plain = None if inventory.nf4 else merged_graph(inventory, adapter, modules)
    if onto is Onto.DEQUANT:
        return QloraSide(trained=trained, onto=onto, other=plain), rounded
    assert plain is not None, "a base without original weights was refused"
    return QloraSide(trained=trained, onto=onto, other=rounded), plain


def _base_notes(inventory: ModelInventory, header: AdapterHeader) -> Iterator[str]:
    """What to know of a base that transformers computes."""
    yield from version_notes(inventory, header)
    if inventory.config.mxfp4 is not None:
        yield NOTE_MERGED_DENSE


def _notes(header: AdapterHeader, stored: ModelInventory, graph: MergedGraph) -> Iterator[str]:
    head = next((tensor for tensor in graph.tensors if tensor.key.ours == HEAD_WEIGHT), None)
    if head is not None and stored.tied_head:
        yield say_merge.NOTE_HEAD_UNTIED
    elif head is not None and head.source.name != stored.tensors[head.key.theirs].name:
        yield say_merge.NOTE_HEAD_REPLACED
    if header.graph.is_proxy:
        yield say_merge.note_proxy_merged(header.graph)
