"""`merge-qlora --subset`: the tensors that an adapter changes, and nothing else.

The result is a part of a model, in float32, under the base's own names, for users who put it into
a model themselves, as in the source system.

The base may be a complete folder, or files without a config: then only names and shapes are known.
Shape letters: R rank, I input features, O output features. Needs torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vox_populi.adapters.header import AdaptedModule
from vox_populi.adapters.v3.names import logical_names
from vox_populi.containers.dtypes import CONFIG_NAME_OF
from vox_populi.containers.safetensors_header import TensorInfo, read_header
from vox_populi.containers.tensor_comparison import nearest_name
from vox_populi.contract.choices import GraphId
from vox_populi.errors import ArtifactError
from vox_populi.files.staged_folder import StagedFolder
from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.hf.inventory import ModelInventory, read_inventory
from vox_populi.hf.keymap import (
    EMBED_WEIGHT,
    HEAD,
    HEAD_WEIGHT,
    TensorKey,
    canonical_name,
    conv1d_part,
    embedding_key,
    tensor_keys,
)
from vox_populi.hf.model_config import CONFIG_NAME
from vox_populi.merge.choices import Onto
from vox_populi.merge.full_graph import LowRankUpdate, MergedGraph, MergedTensor, dense_info
from vox_populi.merge.inputs import find_qlora
from vox_populi.merge.number_type import MergeDtype
from vox_populi.merge.receipt import MergeReceipt, NumberTypeChoice
from vox_populi.merge.rounded_weight import RoundedWeight
from vox_populi.merge.shard_writer import PlacedTensor, plan_file
from vox_populi.merge.write import Pools, write_weights
from vox_populi.operator_messages import merge as say
from vox_populi.operator_messages.wording import capped
from vox_populi.runs.find_adapter import FoundAdapter
from vox_tensor.errors import Problem

SUBSET_FILE = "merged_subset.safetensors"
SUBSET_FORMAT = "subset"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsetBase:
    """Base tensors by name: canonical names if the folder has a config, otherwise as stored."""

    path: Path
    """Path that must not be written to."""
    folder: Path
    files: tuple[str, ...]
    tensors: Mapping[str, TensorInfo]
    inventory: ModelInventory | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsetInputs:
    """The layers of an adapter and their base tensors; nothing is written yet."""

    found: FoundAdapter
    base: SubsetBase
    onto: Onto
    graph: MergedGraph
    """The layers alone, in float32, in the adapter's order."""
    notes: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """The folder of the base's files."""
        return self.base.folder

    @property
    def base_files(self) -> tuple[str, ...]:
        """The files of the base that are read."""
        return self.base.files

    @property
    def inventory(self) -> ModelInventory | None:
        """The inventory of the base; `None` if it has no config."""
        return self.base.inventory


def subset_inputs(
    path: Path, base: Path | None, meta: Path | None, onto: Onto | None
) -> SubsetInputs:
    """Find an adapter of the QLoRA backend, by its layers, and the base tensors they name.

    Args:
        path: The adapter's file, or the folder of a run or checkpoint.
        base: The base, if not where it was in training: a folder, or one file.
        meta: The adapter's sidecar, if it is not beside it.
        onto: The weights to add the update to; `None`: the base's own.

    Raises:
        VoxError: As `pipeline.merge.merge_qlora` says.
    """
    found = _by_layer(find_qlora(path, base, meta))
    kept = _subset_base(found)
    chosen = onto or Onto.ORIGINAL
    tensors = _subset_tensors(found, kept, chosen)
    notes = [say.note_onto_default(chosen.value)] if onto is None else []
    notes += [
        say.note_subset_changes_table(each.source.name) for each in tensors if _is_table(each)
    ]
    if not found.is_of_source_system and kept.inventory is None:
        notes.append(say.NOTE_SUBSET_BASE_UNCHECKED)
    graph = MergedGraph(tensors=tuple(tensors), is_head_tied=False)
    return SubsetInputs(found=found, base=kept, onto=chosen, graph=graph, notes=tuple(notes))


def merge_subset(
    inputs: SubsetInputs, read: Mapping[str, str], staged: StagedFolder, pools: Pools
) -> MergeReceipt:
    """Write `base + scale * B @ A` of every layer of the adapter, in float32.

    Raises:
        VoxError: As `pipeline.merge.merge_qlora` says.
    """
    graph, found, base = inputs.graph, inputs.found, inputs.base
    header, sidecar = found.adapter.header, found.sidecar
    placed = [PlacedTensor.of(each.source.name, each) for each in graph.tensors]
    shard = plan_file(SUBSET_FILE, placed, {})
    written = write_weights((shard,), inputs.folder, staged.path, pools)
    if not any(change.is_changed for change in written.changes):
        raise ArtifactError(say.MERGE_ADAPTER_IS_NO_OP.at(found.where))
    return MergeReceipt(
        output_format=SUBSET_FORMAT,
        adapter={
            "rank": header.lora.rank,
            "alpha": header.lora.alpha,
            "scale": header.lora.scale,
            "modules": len(header.modules),
            "graph_id": _graph_of(found),
            "onto": inputs.onto.value,
        },
        base={
            "name": header.base_name if sidecar is None else sidecar.facts.base_model,
            "dtypes": sorted({info.dtype for info in base.tensors.values()}),
        },
        changes=written.changes,
        n_tensors=len(graph.tensors),
        total_bytes=graph.total_bytes,
        is_head_tied=False,
        logits=None,
        number_type=NumberTypeChoice(asked=MergeDtype.F32.value, written="float32"),
        read={name: read[name] for name in sorted(read)},
        written={SUBSET_FILE: f"sha256:{written.digests[SUBSET_FILE].result()}"},
        notes=inputs.notes,
    )


def _by_layer(found: FoundAdapter) -> FoundAdapter:
    """An adapter by its layers: modules have the names and base keys of its files."""
    header, sidecar = found.adapter.header, found.sidecar
    if found.is_of_source_system:
        return found
    names = logical_names(header.graph, header.modules)
    modules = {
        module.ours: replace(
            module,
            ours=names[module.ours],
            base_key=module.base_key
            if sidecar is None
            else sidecar.facts.base_key_map[names[module.ours]],
        )
        for module in header.modules
    }
    return replace(found, adapter=found.adapter.with_modules(modules))


def _subset_base(found: FoundAdapter) -> SubsetBase:
    """The base in the request, or that of the run: a folder, or one of its files.

    Raises:
        ArtifactError: When the base is not known, and for a folder without weights.
        ModelError: For files that cannot be used.
    """
    unknown = say.BASE_NOT_FOUND.at(found.where)
    path = found.base_folder(unknown) or embedded_model_dir()
    if (path / CONFIG_NAME).exists():
        inventory = read_inventory(path, complete=False, allow_nf4=True)
        return SubsetBase(
            path=path,
            folder=path,
            files=(CONFIG_NAME, *inventory.shards),
            tensors=inventory.tensors,
            inventory=inventory,
        )
    return _base_of_files(path)


def _base_of_files(path: Path) -> SubsetBase:
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not files:
        raise ArtifactError(say.BASE_HAS_NO_WEIGHTS.at(str(path)))
    tensors: dict[str, TensorInfo] = {}
    for file in files:
        for name, info in read_header(file).tensors.items():
            first = tensors.setdefault(name, info)
            if first is not info:
                problem = say.subset_tensor_in_two_files(name, first.shard).at(str(file))
                raise ArtifactError(problem)
    return SubsetBase(
        path=path,
        folder=files[0].parent,
        files=tuple(file.name for file in files),
        tensors=tensors,
        inventory=None,
    )


def _subset_tensors(found: FoundAdapter, base: SubsetBase, onto: Onto) -> list[MergedTensor]:
    """Every layer with its base tensor, in float32, in the adapter's order.

    Raises:
        ArtifactError: With every layer whose tensor is missing, has a different shape or number
            type, or belongs to another layer; for missing original weights; for rounding a base
            without a config.
    """
    where, inventory, adapter = str(base.path), base.inventory, found.adapter
    if onto is Onto.DEQUANT and inventory is None:
        raise ArtifactError(say.SUBSET_NEEDS_FULL_BASE.at(where))
    if onto is Onto.ORIGINAL and inventory is not None and inventory.nf4:
        raise ArtifactError(say.ORIGINAL_IS_PACKED.at(where))
    problems: list[Problem] = []
    taken: dict[str, str] = {}
    tensors = []
    for layer in adapter.header.modules:
        stored = _stored(layer.base_key, base)
        if isinstance(stored, str):
            near = nearest_name(stored, list(base.tensors))
            problems.append(say.subset_key_missing(layer.ours, stored, near).at(where))
            continue
        key, info = stored
        other = taken.setdefault(info.name, layer.ours)
        if other != layer.ours:
            problems.append(say.subset_key_twice(layer.ours, other, info.name).at(where))
        problems += _misfits(where, layer, key, info)
        pair, scale = adapter.pair(layer.ours), adapter.header.lora.scale
        update = LowRankUpdate(*pair, scale, key.transposed)
        rounded = _rounded(found, layer.ours, key, inventory) if onto is Onto.DEQUANT else None
        tensors.append(MergedTensor(key, info, update, rounded, "F32"))
    if problems:
        raise ArtifactError(*capped(problems))
    return tensors


def _is_table(tensor: MergedTensor) -> bool:
    """Whether a tensor is an embedding table, to which the update of a head was added."""
    return tensor.key.ours == EMBED_WEIGHT or tensor.key.ours.endswith(
        ("wte.weight", "embed_tokens.weight")
    )


def _stored(stated: str, base: SubsetBase) -> tuple[TensorKey, TensorInfo] | str:
    """A base tensor with its orientation; if there is none, the name that was looked for."""
    if base.inventory is None:
        info = base.tensors.get(stated)
        if info is None:
            return stated
        is_conv1d = conv1d_part(stated.removesuffix(".weight")) is not None
        return TensorKey(stated, stated, info.shape, transposed=is_conv1d, required=True), info
    config = base.inventory.config
    name = canonical_name(config, stated)
    if name == HEAD_WEIGHT and name not in base.tensors:
        name = embedding_key(config)
    key = next((each for each in tensor_keys(config) if each.theirs == name), None)
    if key is None:
        return name
    if name in base.inventory.nf4:
        return key, dense_info(key, base.inventory.nf4[name])
    found = base.tensors.get(name)
    return name if found is None else (key, found)


def _misfits(
    where: str, layer: AdaptedModule, key: TensorKey, info: TensorInfo
) -> Iterator[Problem]:
    shape = (layer.out_features, layer.in_features)
    expected = shape[::-1] if key.transposed else shape
    if info.shape != expected:
        yield say.subset_misshaped(info.name, info.shape, expected).at(where)
    if info.dtype not in CONFIG_NAME_OF:
        yield say.subset_dtype_unsupported(info.name, info.dtype).at(where)


def _graph_of(found: FoundAdapter) -> GraphId | None:
    """The graph of its training; `None` if the source system's names do not belong to one graph."""
    return found.adapter.header.graph if found.sidecar is None else found.sidecar.facts.graph


def _rounded(
    found: FoundAdapter, layer: str, key: TensorKey, inventory: ModelInventory | None
) -> RoundedWeight | None:
    """A tensor as training saw it: in the full graph the head is as stored."""
    assert inventory is not None, "a base without a config was refused"
    graph, quantization = _graph_of(found), found.adapter.header.quantization
    assert quantization is not None, "others were refused"
    if layer == HEAD and not (graph is not None and graph.is_proxy):
        return None
    if graph is GraphId.FULL and key not in inventory.quantized_keys():
        return None
    return RoundedWeight(inventory, key, quantization.nf4)
