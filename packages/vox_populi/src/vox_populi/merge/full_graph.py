"""The effect of a merge on a whole model: which base tensors change, and how.

Rotation is applied after the projections, so folding an update into q and k of a RoPE model is
exact (D6). The sum is formed in float32 and rounded once, to the number type of the output.
Shape letters: O output features, I input features, R rank; N rows of a tensor as it is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vox_populi.adapters.adapter import Adapter
from vox_populi.containers.dtypes import STORED_NAME_OF, bytes_of_values
from vox_populi.containers.safetensors_header import TensorInfo
from vox_populi.containers.tensor_reader import is_finite
from vox_populi.errors import ArtifactError
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import HEAD_WEIGHT, AdapterModule, TensorKey, embedding_key, tensor_keys
from vox_populi.hf.nf4_stored import Nf4Stored
from vox_populi.merge.rounded_weight import RoundedWeight, TrainedBase
from vox_populi.operator_messages import merge as say
from vox_tensor.lora import lora_delta

_BITS = {
    torch.float32: torch.int32,
    torch.bfloat16: torch.int16,
    torch.float16: torch.int16,
}
"""Integers as wide as the numbers, which compare faster."""


@dataclass(frozen=True, slots=True)
class LowRankUpdate:
    """The adapter of one projection: adds `scale * B @ A`."""

    a_RI: Tensor
    b_OR: Tensor
    scale: float
    is_transposed: bool
    """The base stores this weight `[in, out]` (GPT-2's Conv1D)."""

    def rows(self, first: int, last: int) -> Tensor:
        """Rows `first` to `last` of the update, oriented as the base stores the weight, in f32."""
        if self.is_transposed:
            return lora_delta(self.a_RI[:, first:last], self.b_OR, self.scale).t()
        return lora_delta(self.a_RI, self.b_OR[first:last], self.scale)


@dataclass(frozen=True, slots=True)
class MergedTensor:
    """One tensor of the output and where its numbers come from."""

    key: TensorKey
    source: TensorInfo
    """Key of the base tensor; for a tied head, the embedding table."""
    update: LowRankUpdate | None
    rounded: RoundedWeight | None = None
    """The values as training saw them; `None`: as stored in the base."""
    dtype: str = ""
    """Number type of the output, by its safetensors name; empty: that of the source."""

    def __post_init__(self) -> None:
        if not self.dtype:
            object.__setattr__(self, "dtype", self.source.dtype)

    @property
    def is_copied(self) -> bool:
        """Whether the base's bytes are copied."""
        is_as_stored = self.dtype == self.source.dtype and self.source.parts == (self.source,)
        return self.update is None and self.rounded is None and is_as_stored

    @property
    def n_bytes(self) -> int:
        """Size of its data in the output."""
        return bytes_of_values(self.dtype, self.source.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedGraph:
    """Every tensor of the output, in forward order."""

    tensors: tuple[MergedTensor, ...]
    is_head_tied: bool
    """Whether the output's head is its embedding table."""

    @property
    def total_bytes(self) -> int:
        """Bytes of all numbers; called `total_size` in the index."""
        return sum(tensor.n_bytes for tensor in self.tensors)

    def in_number_type(self, name: str) -> MergedGraph:
        """The same with every tensor in one number type, by its safetensors name."""
        tensors = tuple(replace(tensor, dtype=name) for tensor in self.tensors)
        return replace(self, tensors=tensors)


def refuse_no_op(adapter: Adapter, where: str) -> None:
    """Refuse an adapter that adds zero everywhere, like a fresh one, or adapts nothing.

    Raises:
        ArtifactError: With the file.
    """
    if not adapter.header.modules:
        raise ArtifactError(say.MERGE_ADAPTER_WITHOUT_MODULES.at(where))
    for module in adapter.header.modules:
        if all(bool(tensor.any()) for tensor in adapter.pair(module.ours)):
            return
    raise ArtifactError(say.MERGE_ADAPTER_IS_NO_OP.at(where))


def merged_graph(
    inventory: ModelInventory,
    adapter: Adapter,
    modules: tuple[AdapterModule, ...],
    trained: TrainedBase | None = None,
) -> MergedGraph:
    """Decide for each tensor of the model whether it is copied or changed.

    A tied head with an adapter becomes a separate tensor; a copy of the table under the head's
    name is omitted as long as the two stay tied.

    Args:
        inventory: The base.
        adapter: What is added.
        modules: The projections that it adapts.
        trained: Uses the rounded weights; without it, the stored ones.
    """
    updates = _updates(adapter, modules)
    is_head_tied = inventory.tied_head and HEAD_WEIGHT not in updates
    return MergedGraph(
        tensors=tuple(_merged_tensors(inventory, updates, trained, is_head_tied=is_head_tied)),
        is_head_tied=is_head_tied,
    )


def _updates(adapter: Adapter, modules: tuple[AdapterModule, ...]) -> Mapping[str, LowRankUpdate]:
    scale = adapter.header.lora.scale
    return {
        f"{module.ours}.weight": LowRankUpdate(
            *adapter.pair(module.ours), scale, module.fan_in_fan_out
        )
        for module in modules
    }


def _merged_tensors(
    inventory: ModelInventory,
    updates: Mapping[str, LowRankUpdate],
    trained: TrainedBase | None,
    *,
    is_head_tied: bool,
) -> Iterator[MergedTensor]:
    embedding = embedding_key(inventory.config)
    for key in tensor_keys(inventory.config):
        if key.ours == HEAD_WEIGHT and is_head_tied:
            continue
        if key.theirs in inventory.nf4:
            source = dense_info(key, inventory.nf4[key.theirs])
        else:
            source = inventory.tensors.get(key.theirs) or inventory.tensors[embedding]
        rounded = None if trained is None else trained.weight(key)
        # What is packed in the base has no type of its own in a dense folder.
        dtype = "" if source.parts == (source,) else STORED_NAME_OF[inventory.config.dtype]
        yield MergedTensor(key, source, updates.get(key.ours), rounded, dtype)


def dense_info(key: TensorKey, packed: Nf4Stored) -> TensorInfo:
    """The entry a packed weight would have if it were stored dense; it is in no file."""
    dtype = STORED_NAME_OF[packed.dtype]
    n_bytes = bytes_of_values(dtype, key.shape)
    return TensorInfo(key.theirs, dtype, key.shape, shard="", start=0, end=n_bytes)


@dataclass(frozen=True, slots=True)
class BlockChange:
    """The change of some rows of a tensor."""

    largest: float
    """Greatest `|update|`."""
    total: float
    """Sum of `|update|`."""
    changed_values: int
    """Number of values that differ after rounding."""
    squared_delta: float
    """Sum of `update ** 2`."""
    squared_error: float
    """Sum of `(output - (weight + update)) ** 2`, the rounding of the output."""


def merge_rows(
    values_NI: Tensor, update: LowRankUpdate, first: int, dtype: torch.dtype | None = None
) -> tuple[Tensor, BlockChange]:
    """Add the update to some rows of a weight: f32 sum, one rounding to the type of the output.

    Args:
        values_NI: The rows, oriented as the base stores them; not changed.
        update: Update of the whole tensor.
        first: Number of the first of these rows.
        dtype: Dtype of the output; `None`: that of the rows.

    Raises:
        ValueError: When a result is not finite.
    """
    dtype = dtype or values_NI.dtype
    delta_NI = update.rows(first, first + values_NI.shape[0])
    sum_NI = values_NI.to(torch.float32, copy=True).add_(delta_NI)
    merged_NI = sum_NI.to(dtype)
    require_finite(merged_NI)
    bits = _BITS[dtype]
    size_NI = delta_NI.abs_()
    change = BlockChange(
        largest=float(size_NI.amax()),
        total=float(size_NI.sum()),
        changed_values=int(
            torch.count_nonzero(merged_NI.view(bits) - values_NI.to(dtype).view(bits))
        ),
        squared_delta=_squared(size_NI),
        # In float32 the output is the sum itself.
        squared_error=0.0 if merged_NI is sum_NI else _squared(sum_NI.sub_(merged_NI)),
    )
    return merged_NI, change


def _squared(values_NI: Tensor) -> float:
    flat = values_NI.reshape(-1)
    return float(torch.dot(flat, flat))


def require_finite(merged_NI: Tensor) -> None:
    """Refuse NaN and infinities.

    Raises:
        ValueError: When there is one.
    """
    if not is_finite(merged_NI):
        message = "not finite"
        raise ValueError(message)
