"""A model folder in bitsandbytes' NF4 layout, written tensor by tensor into a staging folder.

The layout is decided before anything is quantised: the one part whose length depends on the
numbers, the quant state's JSON, is padded with spaces. A packed weight's parts are stored together,
wide types first and that JSON last, so that every tensor is aligned.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from vox_populi.containers.dtypes import CONFIG_NAME_OF, DTYPE_BITS, bytes_of_values
from vox_populi.containers.tensor_container import bytes_of, container_preamble
from vox_populi.containers.tensor_reader import is_finite, read_tensor
from vox_populi.containers.torch_dtypes import DTYPE_NAME_OF
from vox_populi.errors import ModelError
from vox_populi.files.new_file import write_new_file
from vox_populi.files.published_file import read_published_file
from vox_populi.files.staged_folder import StagedFolder
from vox_populi.files.whole_file import pretty_json, writing
from vox_populi.hf import nf4_stored
from vox_populi.hf.companion_files import (
    OTHER_FILES,
    TEMPLATES_FOLDER,
    TOKENIZER_FILES,
    config_of,
    published_config,
)
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import HEAD_WEIGHT, TensorKey, tensor_keys
from vox_populi.hf.model_config import CONFIG_NAME
from vox_populi.hf.quantization_config import FIELD, quantization_settings
from vox_populi.hf.saved_path import without_saved_path
from vox_populi.hf.weight_files import INDEX_NAME, SINGLE_NAME
from vox_populi.model.nf4_load import quantize_stored
from vox_populi.operator_messages import quantize as say_quantize
from vox_populi.operator_messages.tensors import MODEL_FOLDER, tensor_not_finite
from vox_tensor.nf4 import NF4_LEVELS, NestedScales, Nf4Tensor
from vox_tensor.nf4_levels import Nf4Settings

SIDE_FILES = (*OTHER_FILES, *TOKENIZER_FILES)
"""Files that are copied byte for byte if they exist."""

_DENSE_MODULES = ("lm_head",)
_ALIGNMENT = 8
_LONGEST_NUMBER = 32

Stored = tuple[str, tuple[int, ...], int]
"""Type (by its safetensors name), shape and bytes."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A weight of the model and its tensors in the file."""

    key: TensorKey
    is_packed: bool
    stored: Mapping[str, Stored]
    """Tensors by name in the file, in the order of their bytes."""

    @property
    def n_bytes(self) -> int:
        return sum(n_bytes for _, _, n_bytes in self.stored.values())


@dataclass(frozen=True, slots=True)
class Nf4FolderPlan:
    """A folder laid out to the byte, without reading any weights."""

    shards: Mapping[str, Sequence[_Entry]]
    """Shards by file name."""

    @property
    def total_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(entry.n_bytes for entries in self.shards.values() for entry in entries)

    @property
    def n_packed(self) -> int:
        """Number of weights in 4 bits."""
        return sum(entry.is_packed for entries in self.shards.values() for entry in entries)

    @property
    def n_dense(self) -> int:
        """Number of tensors that stay as they are."""
        return sum(not entry.is_packed for entries in self.shards.values() for entry in entries)


def plan_nf4_folder(
    inventory: ModelInventory, settings: Nf4Settings, max_shard_bytes: int
) -> Nf4FolderPlan:
    """Lay a folder out, in forward order.

    Args:
        inventory: A complete folder with dense weights.
        settings: How to quantise.
        max_shard_bytes: Largest size of the tensors in a file; a larger weight gets a separate
            file.

    Raises:
        ModelError: For a folder that is already quantised.
        ValueError: For an inventory with missing tensors.
    """
    if inventory.nf4:
        raise ModelError(say_quantize.ALREADY_QUANTIZED.at(str(inventory.model_dir)))
    if inventory.missing:
        message = f"the folder lacks {', '.join(inventory.missing)}"
        raise ValueError(message)
    groups = list(_groups(list(_entries(inventory, settings)), max_shard_bytes))
    count = len(groups)
    names = [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
    return Nf4FolderPlan(dict(zip(names if count > 1 else [SINGLE_NAME], groups, strict=True)))


def write_nf4_folder(
    plan: Nf4FolderPlan,
    inventory: ModelInventory,
    settings: Nf4Settings,
    staged: StagedFolder,
    *,
    with_side_files: bool = True,
) -> dict[str, str]:
    """Fill a staging folder; at most one weight is in memory, dense and packed.

    Args:
        plan: The layout.
        inventory: The model.
        settings: How to quantise.
        staged: Receives the files.
        with_side_files: Also copy tokenizer and licence.

    Returns:
        SHA-256 of every file by its name, in hexadecimal.

    Raises:
        ModelError: For a value that is not finite, or a folder that changed since it was read.
        EnvironmentFailure: When the system refuses to write.
    """
    # Before the weights, which take their time: any of these may be refused.
    small = dict(_side_files(inventory.model_dir)) if with_side_files else {}
    small[CONFIG_NAME] = _config(inventory, settings)
    digests = {
        file: _write_shard(staged.path / file, entries, inventory, settings)
        for file, entries in plan.shards.items()
    }
    if len(plan.shards) > 1:
        small[INDEX_NAME] = pretty_json(_index(plan))
    for name, found in sorted(small.items()):
        data = without_saved_path(name, found)
        staged.write(name, data)
        digests[name] = hashlib.sha256(data).hexdigest()
    return digests


def _entries(inventory: ModelInventory, settings: Nf4Settings) -> Iterator[_Entry]:
    packed = {key.theirs for key in inventory.quantized_keys()}
    for key in tensor_keys(inventory.config):
        info = inventory.tensors.get(key.theirs)
        if info is None or (key.ours == HEAD_WEIGHT and inventory.tied_head):
            continue
        if key.theirs in packed:
            stored = _packed_parts(key, settings, CONFIG_NAME_OF[info.dtype])
        else:
            stored = {key.theirs: (info.dtype, info.shape, info.n_bytes)}
        yield _Entry(key, key.theirs in packed, stored)


def _packed_parts(key: TensorKey, settings: Nf4Settings, dtype: str) -> dict[str, Stored]:
    """Packed parts, wide types first; the padded quant state keeps the total aligned."""
    shapes = nf4_stored.part_shapes(key.our_shape, settings)
    ordered = sorted(shapes.items(), key=lambda part: -DTYPE_BITS[part[1][0]])
    parts = {
        nf4_stored.part_name(key.theirs, part): (
            dtype_name,
            shape,
            bytes_of_values(dtype_name, shape),
        )
        for part, (dtype_name, shape) in ordered
    }
    offset = 0.0 if settings.double_quant else None
    state = nf4_stored.quant_state(key.our_shape, settings.block_size, dtype, offset)
    size = len(json.dumps(state)) + _LONGEST_NUMBER
    size += -(size + sum(n_bytes for _, _, n_bytes in parts.values())) % _ALIGNMENT
    parts[nf4_stored.part_name(key.theirs, nf4_stored.QUANT_STATE)] = ("U8", (size,), size)
    return parts


def _groups(entries: Sequence[_Entry], limit: int) -> Iterator[list[_Entry]]:
    """Files of limited size: packed weights first, then wide types before narrow."""
    group: list[_Entry] = []
    size = 0
    for entry in entries:
        if group and size + entry.n_bytes > limit:
            yield sorted(group, key=_place_in_file)
            group, size = [], 0
        group.append(entry)
        size += entry.n_bytes
    yield sorted(group, key=_place_in_file)


def _place_in_file(entry: _Entry) -> int:
    if entry.is_packed:
        return -2 * max(DTYPE_BITS.values())
    return -DTYPE_BITS[next(iter(entry.stored.values()))[0]]


def _write_shard(
    path: Path, entries: Sequence[_Entry], inventory: ModelInventory, settings: Nf4Settings
) -> str:
    stored = {name: value for entry in entries for name, value in entry.stored.items()}
    preamble = container_preamble(stored, {"format": "pt"})
    tensors = (t for entry in entries for t in _tensors(entry, inventory, settings))
    with writing(path):
        return write_new_file(path, chain([preamble], map(bytes_of, tensors))).sha256


def _tensors(entry: _Entry, inventory: ModelInventory, settings: Nf4Settings) -> Iterator[Tensor]:
    """The tensors of a weight, in the order of its entry."""
    if entry.is_packed:
        parts = _parts(quantize_stored(inventory, entry.key, settings), entry)
        for name, (_, shape, _) in entry.stored.items():
            yield parts[name].reshape(shape).contiguous()
        return
    info = inventory.tensors[entry.key.theirs]
    path = inventory.model_dir / info.shard
    stored = read_tensor(path, info)
    if not is_finite(stored):
        raise ModelError(tensor_not_finite(MODEL_FOLDER, str(path), entry.key.theirs))
    yield stored


def _parts(weight: Nf4Tensor, entry: _Entry) -> dict[str, Tensor]:
    scales = weight.scales
    parts = {nf4_stored.WEIGHT: weight.codes, nf4_stored.QUANT_MAP: torch.tensor(NF4_LEVELS)}
    offset: float | None = None
    if isinstance(scales, NestedScales):
        parts[nf4_stored.ABSMAX] = scales.codes_B
        parts[nf4_stored.NESTED_ABSMAX] = scales.absmax_G
        parts[nf4_stored.NESTED_QUANT_MAP] = scales.levels
        offset = scales.offset.item()
    else:
        parts[nf4_stored.ABSMAX] = scales
    dtype = CONFIG_NAME_OF[DTYPE_NAME_OF[weight.dtype]]
    state = nf4_stored.quant_state(weight.shape, weight.block_size, dtype, offset)
    name = nf4_stored.part_name(entry.key.theirs, nf4_stored.QUANT_STATE)
    text = json.dumps(state).encode().ljust(entry.stored[name][2])
    parts[nf4_stored.QUANT_STATE] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    return {nf4_stored.part_name(entry.key.theirs, part): each for part, each in parts.items()}


def _config(inventory: ModelInventory, settings: Nf4Settings) -> bytes:
    dtype = inventory.config.dtype
    raw = config_of(published_config(inventory, is_head_tied=inventory.tied_head, dtype=dtype))
    entry = quantization_settings(
        double_quant=settings.double_quant,
        compute_dtype=dtype,
        skipped=_DENSE_MODULES,
    )
    return pretty_json({**raw, FIELD: entry})


def _index(plan: Nf4FolderPlan) -> dict[str, object]:
    weight_map = {
        name: file
        for file, entries in plan.shards.items()
        for entry in entries
        for name in entry.stored
    }
    return {
        "metadata": {"total_size": plan.total_bytes},
        "weight_map": {name: weight_map[name] for name in sorted(weight_map)},
    }


def _side_files(model_dir: Path) -> Iterator[tuple[str, bytes]]:
    for name in SIDE_FILES:
        if os.path.lexists(model_dir / name):
            yield name, read_published_file(model_dir / name, model_dir)
    for path in sorted((model_dir / TEMPLATES_FOLDER).glob("*.jinja")):
        yield f"{TEMPLATES_FOLDER}/{path.name}", read_published_file(path, model_dir)
