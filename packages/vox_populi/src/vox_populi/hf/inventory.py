"""What a model folder holds, from its config, its index and its file headers alone.

Nothing is read of the weights, with one exception: a head beside a tied embedding is compared
with it, since only equal values make it tied.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from vox_populi import operator_messages as say
from vox_populi.errors import ModelError
from vox_populi.hf.file_digest import digest_of_files
from vox_populi.hf.keymap import TensorKey, tensor_keys
from vox_populi.hf.model_config import CONFIG_NAME, Family, ModelConfig, read_model_config
from vox_populi.hf.safetensors_header import TensorInfo, read_header
from vox_populi.hf.strict_json import open_regular
from vox_populi.hf.weight_files import WeightFiles, find_weight_files
from vox_tensor.errors import Problem

__all__ = ["ModelInventory", "base_digest", "digest_of_files", "read_inventory"]

READABLE_DTYPES = frozenset({"F32", "BF16", "F16"})

_GPT2_PREFIX = "transformer."
_BARE_GPT2_NAME = re.compile(r"(h\.\d+|wte|wpe|ln_f)\.")
# Buffers that older transformers versions saved; the transformer derives them from the config.
_DERIVED_BUFFER = re.compile(
    r"transformer\.h\.\d+\.attn\.(bias|masked_bias)"
    r"|model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq"
)
_COMPARE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInventory:
    """A model folder whose config and tensors agree."""

    model_dir: Path
    """As the operator named it."""
    config: ModelConfig
    tensors: Mapping[str, TensorInfo]
    """By canonical Hugging Face name (`TensorKey.theirs`); only tensors the model uses."""
    shards: tuple[str, ...]
    """File names in sorted order."""
    total_bytes: int
    """Data of all `tensors`."""
    tied_head: bool
    """Whether the head is the embedding table."""


def read_inventory(model_dir: Path) -> ModelInventory:
    """Read a `save_pretrained` folder and check it against its own config.

    Raises:
        ModelError: With every missing, unexpected, misshaped or unreadable tensor, or every
            problem of the file that comes first in the chain config, index, headers.
    """
    config = read_model_config(model_dir)
    files = find_weight_files(model_dir)
    stored = _read_headers(model_dir, files)
    tensors = _tensors_of_model(config, stored, str(model_dir))
    config = _with_true_tie(config, model_dir, tensors)
    return ModelInventory(
        model_dir=model_dir,
        config=config,
        tensors=MappingProxyType(tensors),
        shards=files.shards,
        total_bytes=sum(info.n_bytes for info in tensors.values()),
        tied_head=config.tie_word_embeddings,
    )


def base_digest(inventory: ModelInventory) -> str:
    """Digest of the config and the weights of a folder, wherever it lies; reads all of it.

    Raises:
        ModelError: When a file cannot be read any more.
    """
    names = (CONFIG_NAME, *inventory.shards)
    return digest_of_files([inventory.model_dir / name for name in names])


def _read_headers(model_dir: Path, files: WeightFiles) -> list[TensorInfo]:
    """Every tensor of every shard; the index, where there is one, must say the same."""
    stored: list[TensorInfo] = []
    problems: list[Problem] = []
    for shard in files.shards:
        try:
            header = read_header(model_dir / shard)
        except ModelError as error:
            problems.extend(error.problems)
            continue
        stored.extend(header.tensors.values())
        if files.promised is not None:
            where = str(model_dir / shard)
            problems.extend(_index_problems(where, files.promised[shard], header.tensors))
    if problems:
        raise ModelError(*say.capped(problems))
    return stored


def _index_problems(
    where: str, promised: frozenset[str], found: Mapping[str, TensorInfo]
) -> Iterator[Problem]:
    for name in sorted(promised - found.keys()):
        yield say.tensor_not_in_shard(where, name)
    for name in sorted(found.keys() - promised):
        yield say.tensor_not_in_index(where, name)


def _tensors_of_model(
    config: ModelConfig, stored: Sequence[TensorInfo], where: str
) -> dict[str, TensorInfo]:
    by_name: dict[str, TensorInfo] = {}
    problems: list[Problem] = []
    for info in stored:
        name = _canonical_name(config.family, info.name)
        if name in by_name:
            problems.append(say.tensor_named_twice(f"{where}/{info.shard}", name))
        elif not _DERIVED_BUFFER.fullmatch(name):
            by_name[name] = info
    keys = {key.theirs: key for key in tensor_keys(config)}
    problems.extend(_mismatches(keys, by_name, where))
    if problems:
        raise ModelError(*say.capped(problems))
    return {name: by_name[name] for name in keys if name in by_name}


def _canonical_name(family: Family, name: str) -> str:
    """GPT-2 checkpoints come with and without the prefix of the model that wraps the blocks."""
    if family is Family.GPT2 and _BARE_GPT2_NAME.match(name):
        return _GPT2_PREFIX + name
    return name


def _mismatches(
    keys: Mapping[str, TensorKey], found: Mapping[str, TensorInfo], where: str
) -> Iterator[Problem]:
    for name, key in keys.items():
        info = found.get(name)
        if info is None:
            if key.required:
                yield say.tensor_missing(where, name)
            continue
        place = f"{where}/{info.shard}"
        if info.shape != key.shape:
            yield say.tensor_misshaped(place, name, info.shape, key.shape)
        if info.dtype not in READABLE_DTYPES:
            yield say.tensor_dtype_unsupported(place, name, info.dtype)
    for name in sorted(found.keys() - keys.keys()):
        yield say.tensor_unexpected(f"{where}/{found[name].shard}", name)


def _with_true_tie(
    config: ModelConfig, model_dir: Path, tensors: Mapping[str, TensorInfo]
) -> ModelConfig:
    """Untie the config when the folder brings a head of its own.

    transformers does the same: `tie_word_embeddings` holds unless both tensors are there and
    differ. Different values mostly show in the first bytes; equal ones are read to the end.
    """
    head = tensors.get("lm_head.weight")
    if not config.tie_word_embeddings or head is None:
        return config
    embedding = next(
        tensors[key.theirs] for key in tensor_keys(config) if key.ours == "embed.weight"
    )
    if _have_same_data(model_dir, head, embedding):
        return config
    return replace(config, tie_word_embeddings=False)


def _have_same_data(model_dir: Path, one: TensorInfo, other: TensorInfo) -> bool:
    if one.dtype != other.dtype:
        return False
    pairs = zip(_data_of(model_dir, one), _data_of(model_dir, other), strict=True)
    return all(mine == theirs for mine, theirs in pairs)


def _data_of(model_dir: Path, info: TensorInfo) -> Iterator[bytes]:
    """The bytes of a tensor, a block at a time."""
    path = model_dir / info.shard
    with open_regular(path) as handle:
        handle.seek(info.start)
        left = info.n_bytes
        while left:
            try:
                block = handle.read(min(left, _COMPARE_BYTES))
            except OSError as error:
                reason = error.strerror or "reading failed"
                raise ModelError(say.model_file_unreadable(str(path), reason)) from None
            if not block:
                raise ModelError(say.container_broken(str(path), "it shrank while it was read"))
            left -= len(block)
            yield block
