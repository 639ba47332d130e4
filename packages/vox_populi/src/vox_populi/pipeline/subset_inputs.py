"""What `merge-qlora --subset` reads: an adapter by its layers, and the base tensors they name.

The base may be a whole folder, or files without a config: then names and shapes are all there is.
Shape letters: R rank, I input features, O output features. Needs torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from torch import Tensor

from vox_populi.adapters.header import (
    AdapterHeader,
    Quantization,
)
from vox_populi.adapters.lora_bin import AdapterFile, read_adapter_bin
from vox_populi.adapters.v3.files import SourceAdapter, read_qlora_adapter
from vox_populi.adapters.v3.layers import SOURCE_BLOCK_SIZE
from vox_populi.adapters.v3.names import logical_names
from vox_populi.adapters.v3.sidecar import Sidecar
from vox_populi.containers.dtypes import CONFIG_NAME_OF
from vox_populi.containers.safetensors_header import TensorInfo, read_header
from vox_populi.contract.choices import GraphId
from vox_populi.errors import ArtifactError
from vox_populi.hf.embedded import EMBEDDED_NAME, embedded_model_dir
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
from vox_populi.merge.full_graph import LowRankUpdate, MergedTensor, dense_info
from vox_populi.merge.rounded_weight import RoundedWeight
from vox_populi.model.lora_transformer import A_SUFFIX, B_SUFFIX
from vox_populi.operator_messages import adapter as say_adapter_forms
from vox_populi.operator_messages import merge as say_merge_qlora
from vox_populi.operator_messages.wording import capped
from vox_populi.pipeline.adapter_choice import hint_of_run
from vox_populi.pipeline.merge import Onto, QloraMergeRequest
from vox_populi.runs.base_location import find_base
from vox_populi.runs.checkpoint_dir import check_checkpoint, checkpoint_at
from vox_tensor.errors import Problem
from vox_tensor.nf4_levels import Nf4Settings


@dataclass(frozen=True, slots=True)
class SubsetLayer:
    """One layer of an adapter and the base tensor it names."""

    name: str
    base_key: str
    a_RI: Tensor
    b_OR: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsetAdapter:
    """An adapter by its layers."""

    file: Path
    sidecar: Path | None
    layers: tuple[SubsetLayer, ...]
    rank: int
    alpha: float
    scale: float
    graph: GraphId | None
    quantization: Quantization
    base_name: str | None
    header: AdapterHeader | None
    """Of an adapter of ours, which knows the digest of its base."""
    base_hint: Path | None
    """Where its run says the base is."""

    @property
    def sources(self) -> tuple[Path, ...]:
        """The files it was read from."""
        return (self.file,) if self.sidecar is None else (self.file, self.sidecar)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsetBase:
    """Base tensors by name: canonical ones of a folder with a config, else as they are stored."""

    path: Path
    """What must not be written into."""
    folder: Path
    files: tuple[str, ...]
    tensors: Mapping[str, TensorInfo]
    inventory: ModelInventory | None

    def number_types(self) -> tuple[str, ...]:
        """Of the tensors, by their safetensors names."""
        return tuple(sorted({info.dtype for info in self.tensors.values()}))


def subset_adapter(
    request: QloraMergeRequest, file: Path, sidecar: Sidecar | None
) -> SubsetAdapter:
    """Read an adapter with all its numbers.

    Args:
        request: Says where it is.
        file: The adapter's file.
        sidecar: What lies beside it; `None` for the adapter of a checkpoint.

    Raises:
        ArtifactError: For an adapter that cannot be read, or is none of the QLoRA backend.
    """
    if sidecar is None:
        checkpoint = checkpoint_at(request.adapter)
        assert checkpoint is not None, "without a sidecar it is a checkpoint"
        check_checkpoint(checkpoint)
        return _own(read_adapter_bin(file), file, None)
    adapter = read_qlora_adapter(request.adapter, request.meta)
    if isinstance(adapter, AdapterFile):
        return _own(adapter, file, sidecar)
    return _source(adapter, file, sidecar)


def _own(adapter: AdapterFile, file: Path, sidecar: Sidecar | None) -> SubsetAdapter:
    header, lora = adapter.header, adapter.header.lora
    if header.quantization is None:
        raise ArtifactError(say_adapter_forms.burn_bin_refused(str(file)))
    keys = {module.ours: module.base_key for module in header.modules}
    names = logical_names(header.graph, header.modules)
    if sidecar is not None:
        keys = {ours: sidecar.facts.base_key_map[name] for ours, name in names.items()}
    return SubsetAdapter(
        file=file,
        sidecar=None if sidecar is None else sidecar.path,
        layers=tuple(
            SubsetLayer(
                name,
                keys[ours],
                adapter.tensors[ours + A_SUFFIX],
                adapter.tensors[ours + B_SUFFIX],
            )
            for ours, name in names.items()
        ),
        rank=lora.rank,
        alpha=lora.alpha,
        scale=lora.scale,
        graph=header.graph,
        quantization=header.quantization,
        base_name=header.base_name,
        header=header,
        base_hint=hint_of_run(file) if sidecar is None else find_base(file.parent),
    )


def _source(adapter: SourceAdapter, file: Path, sidecar: Sidecar) -> SubsetAdapter:
    facts, tensors = adapter.facts, adapter.tensors
    return SubsetAdapter(
        file=file,
        sidecar=sidecar.path,
        layers=tuple(
            SubsetLayer(
                name,
                facts.base_key_map[name],
                tensors[f"{name}.lora_a"],
                tensors[f"{name}.lora_b"],
            )
            for name in facts.layer_order
        ),
        rank=facts.rank,
        alpha=facts.alpha,
        scale=facts.scale,
        graph=facts.graph,
        quantization=Quantization(
            nf4=Nf4Settings(block_size=SOURCE_BLOCK_SIZE, double_quant=facts.double_quant),
            compute_dtype="f32",
        ),
        base_name=facts.base_model,
        header=None,
        base_hint=find_base(file.parent),
    )


def subset_base(named: Path | None, adapter: SubsetAdapter) -> SubsetBase:
    """The base that the request names, or that of the run: a folder, or one of its files.

    Raises:
        ArtifactError: When nothing says where it is, and for a folder without weights.
        ModelError: For files that cannot be used.
    """
    path = named or adapter.base_hint
    if path is None and adapter.base_name == EMBEDDED_NAME:
        path = embedded_model_dir()
    if path is None:
        raise ArtifactError(say_merge_qlora.base_not_found(str(adapter.file)))
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
        raise ArtifactError(say_merge_qlora.base_has_no_weights(str(path)))
    tensors: dict[str, TensorInfo] = {}
    for file in files:
        for name, info in read_header(file).tensors.items():
            first = tensors.setdefault(name, info)
            if first is not info:
                problem = say_merge_qlora.subset_tensor_in_two_files(str(file), name, first.shard)
                raise ArtifactError(problem)
    return SubsetBase(
        path=path,
        folder=files[0].parent,
        files=tuple(file.name for file in files),
        tensors=tensors,
        inventory=None,
    )


def subset_tensors(adapter: SubsetAdapter, base: SubsetBase, onto: Onto) -> list[MergedTensor]:
    """Every layer with its base tensor, in float32, in the adapter's order.

    Raises:
        ArtifactError: With every layer whose tensor is absent, of another shape or number type,
            or that of another layer; for original weights that are not there; for rounding a
            base without a config.
    """
    where, inventory = str(base.path), base.inventory
    if onto is Onto.DEQUANT and inventory is None:
        raise ArtifactError(say_merge_qlora.subset_needs_full_base(where))
    if onto is Onto.ORIGINAL and inventory is not None and inventory.nf4:
        raise ArtifactError(say_merge_qlora.original_is_packed(where))
    problems: list[Problem] = []
    taken: dict[str, str] = {}
    tensors = []
    for layer in adapter.layers:
        found = _stored(layer.base_key, base)
        if isinstance(found, str):
            near = next(iter(get_close_matches(found, list(base.tensors), n=1)), None)
            problems.append(say_merge_qlora.subset_key_missing(where, layer.name, found, near))
            continue
        key, info = found
        other = taken.setdefault(info.name, layer.name)
        if other != layer.name:
            problems.append(say_merge_qlora.subset_key_twice(where, layer.name, other, info.name))
        problems += _misfits(where, layer, key, info)
        update = LowRankUpdate(layer.a_RI, layer.b_OR, adapter.scale, key.transposed)
        rounded = _rounded(adapter, layer, key, inventory) if onto is Onto.DEQUANT else None
        tensors.append(MergedTensor(key, info, update, rounded, "F32"))
    if problems:
        raise ArtifactError(*capped(problems))
    return tensors


def is_table(tensor: MergedTensor) -> bool:
    """Whether a tensor is an embedding table, to which the update of a head was added."""
    return tensor.key.ours == EMBED_WEIGHT or tensor.key.ours.endswith(
        ("wte.weight", "embed_tokens.weight")
    )


def _stored(stated: str, base: SubsetBase) -> tuple[TensorKey, TensorInfo] | str:
    """A base tensor with its orientation; the name that was looked for when there is none."""
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


def _misfits(where: str, layer: SubsetLayer, key: TensorKey, info: TensorInfo) -> Iterator[Problem]:
    shape = (layer.b_OR.shape[0], layer.a_RI.shape[1])
    expected = shape[::-1] if key.transposed else shape
    if info.shape != expected:
        yield say_merge_qlora.subset_misshaped(where, info.name, info.shape, expected)
    if info.dtype not in CONFIG_NAME_OF:
        yield say_merge_qlora.subset_dtype_unsupported(where, info.name, info.dtype)


def _rounded(
    adapter: SubsetAdapter, layer: SubsetLayer, key: TensorKey, inventory: ModelInventory | None
) -> RoundedWeight | None:
    """A tensor as training saw it: in the full graph the head is as it is stored."""
    assert inventory is not None, "a base without a config was refused"
    if layer.name == HEAD and not (adapter.graph is not None and adapter.graph.is_proxy):
        return None
    in_blocks = key in inventory.quantized_keys()
    if adapter.graph == GraphId.FULL and not in_blocks:
        return None
    return RoundedWeight(inventory, key, adapter.quantization.nf4)
