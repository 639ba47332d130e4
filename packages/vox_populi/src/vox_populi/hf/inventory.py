"""The contents of a model folder, read from its config, its index and its file headers.

The weights are not read, with two exceptions: a head next to a tied embedding is compared with it,
since only equal values make it tied; and for packed weights the few bytes that describe the
packing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from vox_populi.containers.dtypes import CONFIG_NAME_OF
from vox_populi.containers.file_ranges import open_ranges
from vox_populi.containers.safetensors_header import TensorInfo, read_header
from vox_populi.containers.tensor_comparison import (
    Misshaped,
    Missing,
    tensor_differences,
    tensor_problem,
)
from vox_populi.errors import ModelError
from vox_populi.files.file_digest import digest_of_files
from vox_populi.hf.fused_experts import FusedTensor, fused_tensors
from vox_populi.hf.graph_source import GraphSource
from vox_populi.hf.keymap import (
    EMBED_WEIGHT,
    HEAD_WEIGHT,
    TensorKey,
    block_weight_keys,
    canonical_name,
    embedding_key,
    is_derived,
    is_of_text_model,
    spelled_like,
    tensor_keys,
)
from vox_populi.hf.model_config import CONFIG_NAME, ModelConfig, read_model_config
from vox_populi.hf.mxfp4_stored import join_parts
from vox_populi.hf.nf4_stored import (
    QUANT_STATE,
    Nf4Stored,
    packed_parts,
    part_name,
    read_packed_weight,
)
from vox_populi.hf.weight_files import WeightFiles, find_weight_files
from vox_populi.operator_messages import model_folder as say_model_folder
from vox_populi.operator_messages import quantize as say_quantize
from vox_populi.operator_messages.tensors import MODEL_FOLDER, tensor_missing
from vox_tensor.errors import Problem
from vox_tensor.problem_log import ProblemLog

__all__ = ["ModelInventory", "base_digest", "digest_of_files", "read_inventory"]

_COMPARE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInventory:
    """A model folder whose config and tensors agree."""

    model_dir: Path
    """Path as passed by the operator."""
    config: ModelConfig
    tensors: Mapping[str, TensorInfo]
    """Tensors by canonical Hugging Face name (`TensorKey.theirs`); only those the model uses.

    Those in MXFP4 are described as the dense tensors they are read as (`Mxfp4Info`)."""
    shards: tuple[str, ...]
    """File names in sorted order."""
    total_bytes: int
    """Size on disk of all `tensors` and of all parts of packed weights."""
    tied_head: bool
    """Whether the head is the embedding table."""
    nf4: Mapping[str, Nf4Stored] = field(default_factory=lambda: MappingProxyType({}))
    """Weights packed by bitsandbytes, by canonical name; they are not in `tensors`."""
    missing: tuple[str, ...] = ()
    """Canonical names of required tensors that the folder lacks, if that was allowed."""
    fused: Mapping[str, FusedTensor] = field(default_factory=lambda: MappingProxyType({}))
    """Tensors with all experts of a layer by their names in the folder; `tensors` has the parts."""
    others: Mapping[str, TensorInfo] = field(default_factory=lambda: MappingProxyType({}))
    """Tensors of what is around a text model, by their names in the folder."""

    def published_name(self, theirs: str) -> str:
        """The name of a tensor of the model in a new folder that takes the place of this one.

        It is the canonical one, unless a reader of the folder would look for others beside it.
        """
        keeps_name = bool(self.fused) or self.config.modules is not None
        if keeps_name and theirs in self.tensors:
            return self.tensors[theirs].name
        # A class of transformers may call its table otherwise than the folder.
        embedding = self.tensors.get(embedding_key(self.config))
        return theirs if embedding is None else spelled_like(self.config, theirs, embedding.name)

    def quantized_keys(self) -> tuple[TensorKey, ...]:
        """Weights that an NF4 base stores in 4 bits, in forward order.

        These are the linear layers of the blocks, or the packed weights of a folder that is
        already quantised, since its maker left the others dense on purpose.
        """
        found = self.nf4 or self.tensors
        return tuple(key for key in block_weight_keys(self.config) if key.theirs in found)


def read_inventory(
    model_dir: Path,
    *,
    complete: bool = True,
    allow_nf4: bool = False,
    source: GraphSource = GraphSource.AUTO,
    leave_experts: bool = False,
) -> ModelInventory:
    """Read a `save_pretrained` folder and check it against its own config.

    Args:
        model_dir: The folder.
        complete: Refuse a folder that lacks a tensor; otherwise `missing` lists them, and only
            the embedding table must be there.
        allow_nf4: Accept a folder whose weights bitsandbytes packed in NF4; its dense tensors are
            in `tensors`, the others in `nf4`.
        source: Whose code will compute the model.
        leave_experts: Take experts that a class of transformers holds together as the tensors that
            they are, which stay as they are; others are told apart.

    Raises:
        ModelError: With every missing, unexpected, misshaped or unreadable tensor, or every
            problem of the file that comes first in the chain config, index, headers.
    """
    config = read_model_config(model_dir, source)
    if config.is_prequantized and not allow_nf4:
        raise ModelError(say_quantize.FOLDER_IS_QUANTIZED.at(str(model_dir)))
    files = find_weight_files(model_dir)
    joined = join_parts(_read_headers(model_dir, files), config.mxfp4, model_dir, CONFIG_NAME)
    if joined.problems:
        raise ModelError(*joined.problems.shown())
    stored = joined.tensors
    if leave_experts and config.modules is not None:
        config = replace(config, modules=config.modules.leaving_experts(), experts=None)
    if config.modules is not None:
        config = replace(config, modules=config.modules.for_names(each.name for each in stored))
    found = _FoundTensors(model_dir, config)
    found.sort(stored, complete=complete)
    if found.problems:
        raise ModelError(*found.problems.shown())
    config = _with_true_tie(config, model_dir, found.dense)
    return ModelInventory(
        model_dir=model_dir,
        config=config,
        tensors=MappingProxyType(found.dense),
        shards=files.shards,
        total_bytes=sum(part.n_bytes for info in found.dense.values() for part in info.parts)
        + sum(weight.n_bytes for weight in found.nf4.values()),
        tied_head=config.tie_word_embeddings,
        nf4=MappingProxyType(found.nf4),
        missing=tuple(found.missing),
        fused=MappingProxyType(found.fused),
        others=MappingProxyType(found.others),
    )


def base_digest(inventory: ModelInventory) -> str:
    """Digest of a folder's config and weights, independent of its path; reads all of it.

    Raises:
        ModelError: When a file cannot be read any more.
    """
    names = (CONFIG_NAME, *inventory.shards)
    return digest_of_files([inventory.model_dir / name for name in names])


def _read_headers(model_dir: Path, files: WeightFiles) -> list[TensorInfo]:
    """Every tensor of every shard; the index, if there is one, must agree."""
    stored: list[TensorInfo] = []
    problems = ProblemLog(str(model_dir))
    for shard in files.shards:
        try:
            header = read_header(model_dir / shard)
        except ModelError as error:
            problems.add(error.problems)
            continue
        stored.extend(header.tensors.values())
        if files.promised is not None:
            where = str(model_dir / shard)
            problems.add(_index_problems(where, files.promised[shard], header.tensors))
    if problems:
        raise ModelError(*problems.shown())
    return stored


def _index_problems(
    where: str, promised: frozenset[str], found: Mapping[str, TensorInfo]
) -> Iterator[Problem]:
    for name in sorted(promised - found.keys()):
        yield say_model_folder.tensor_not_in_shard(name).at(where)
    for name in sorted(found.keys() - promised):
        yield say_model_folder.tensor_not_in_index(name).at(where)


@dataclass(slots=True)
class _FoundTensors:
    """The tensors of a folder, matched with the model, and their problems."""

    model_dir: Path
    config: ModelConfig
    dense: dict[str, TensorInfo] = field(default_factory=dict)
    nf4: dict[str, Nf4Stored] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    fused: dict[str, FusedTensor] = field(default_factory=dict)
    others: dict[str, TensorInfo] = field(default_factory=dict)
    problems: ProblemLog = field(init=False)

    def __post_init__(self) -> None:
        self.problems = ProblemLog(str(self.model_dir))

    def sort(self, stored: Sequence[TensorInfo], *, complete: bool) -> None:
        """Match every tensor of the folder with the model."""
        by_name = self._by_canonical_name(stored)
        keys = {key.theirs: key for key in tensor_keys(self.config)}
        packed = packed_parts(by_name)
        if self.config.is_prequantized and self.others:
            where = str(self.model_dir / CONFIG_NAME)
            self.problems.add([say_quantize.NESTED_IS_PACKED.at(where)])
        if self.config.is_prequantized:
            self._sort_packed(keys, packed, by_name)
        else:
            self._refuse_packed(packed)
            packed = {}
        found = {name: by_name[name] for name in sorted(by_name)}
        expected = {
            name: key.shape
            for name, key in keys.items()
            if name in found or (key.required and name not in packed)
        }
        self.dense |= {name: found[name] for name in expected if name in found}
        for difference in tensor_differences(expected, found, CONFIG_NAME_OF):
            if isinstance(difference, Missing):
                self._note_missing(keys[difference.name], complete=complete)
            else:
                where = self._place(found[difference.name])
                self.problems.add([tensor_problem(MODEL_FOLDER, where, difference)])

    def _by_canonical_name(self, stored: Sequence[TensorInfo]) -> dict[str, TensorInfo]:
        by_name: dict[str, TensorInfo] = {}
        fused = fused_tensors(self.config)
        for whole in stored:
            stored_name = canonical_name(self.config, whole.name)
            if not is_of_text_model(self.config, stored_name):
                self.others[whole.name] = whole
                continue
            if stored_name in fused:
                self.fused[whole.name] = fused[stored_name]
                parts = self._split(fused[stored_name], whole)
            else:
                parts = [(stored_name, whole)]
            twice = next((name for name, _ in parts if name in by_name), None)
            if twice is not None:
                where = self._place(whole)
                self.problems.add([say_model_folder.tensor_named_twice(twice).at(where)])
            for name, info in parts:
                if name not in by_name and not is_derived(self.config, name):
                    by_name[name] = info
        return by_name

    def _split(self, fused: FusedTensor, info: TensorInfo) -> list[tuple[str, TensorInfo]]:
        """The experts of a fused tensor; one of another shape is a problem, once."""
        if info.shape != fused.shape:
            wrong = Misshaped(info.name, info.shape, fused.shape)
            self.problems.add([tensor_problem(MODEL_FOLDER, self._place(info), wrong)])
        return list(fused.split(info))

    def _sort_packed(
        self,
        keys: Mapping[str, TensorKey],
        packed: Mapping[str, Mapping[str, TensorInfo]],
        by_name: dict[str, TensorInfo],
    ) -> None:
        """Read the packed weights and remove their parts from `by_name`."""
        linear = {key.theirs for key in block_weight_keys(self.config)}
        for name, parts in packed.items():
            if name not in keys:
                continue  # Left among the tensors that have no place.
            for part in parts:
                del by_name[part_name(name, part)]
            if name not in linear:
                where = str(self.model_dir)
                self.problems.add([say_quantize.nf4_layer_must_be_dense(name).at(where)])
                continue
            weight, problems = read_packed_weight(self.model_dir, keys[name], parts)
            self.problems.add(problems)
            if weight is not None:
                self.nf4[name] = weight
        if not packed and linear & by_name.keys():
            where = str(self.model_dir / CONFIG_NAME)
            self.problems.add([say_quantize.NF4_ANNOUNCED_ONLY.at(where)])
        self._refuse_mixture()

    def _refuse_mixture(self) -> None:
        weights = [(name, each.settings) for name, each in self.nf4.items()]
        for name, settings in weights:
            if settings != weights[0][1]:
                where = str(self.model_dir)
                self.problems.add([say_quantize.nf4_settings_mixed(weights[0][0], name).at(where)])
                return

    def _refuse_packed(self, packed: Mapping[str, Mapping[str, TensorInfo]]) -> None:
        """Refuse packed weights that the config does not announce."""
        name = next((name for name, parts in packed.items() if QUANT_STATE in parts), None)
        if name is not None:
            where = str(self.model_dir / CONFIG_NAME)
            raise ModelError(say_quantize.nf4_not_announced(name).at(where))

    def _note_missing(self, key: TensorKey, *, complete: bool) -> None:
        if complete or key.ours == EMBED_WEIGHT:
            self.problems.add([tensor_missing(MODEL_FOLDER, str(self.model_dir), key.theirs)])
        else:
            self.missing.append(key.theirs)

    def _place(self, info: TensorInfo) -> str:
        return f"{self.model_dir}/{info.shard}"


def _with_true_tie(
    config: ModelConfig, model_dir: Path, tensors: Mapping[str, TensorInfo]
) -> ModelConfig:
    """Untie the config if the folder has a separate head.

    transformers does the same: `tie_word_embeddings` holds unless both tensors exist and differ.
    Different values mostly show in the first bytes; equal ones are read to the end.
    """
    head = tensors.get(HEAD_WEIGHT)
    if not config.tie_word_embeddings or head is None:
        return config
    embedding = tensors[embedding_key(config)]
    if _have_same_data(model_dir, head, embedding):
        return config
    return replace(config, tie_word_embeddings=False)


def _have_same_data(model_dir: Path, one: TensorInfo, other: TensorInfo) -> bool:
    if one.dtype != other.dtype:
        return False
    pairs = zip(_data_of(model_dir, one), _data_of(model_dir, other), strict=True)
    return all(mine == theirs for mine, theirs in pairs)


def _data_of(model_dir: Path, info: TensorInfo) -> Iterator[memoryview]:
    """The bytes of a tensor, a block at a time."""
    with open_ranges(model_dir / info.shard) as reader:
        yield from reader.blocks(info.start, info.n_bytes, _COMPARE_BYTES)
