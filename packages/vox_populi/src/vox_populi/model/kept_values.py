"""Counting what the blocks of a class of transformers keep, on a device that computes nothing.

The class in its real size runs once on torch's meta device, where tensors have shapes and no
values, so it takes neither memory nor much time. What its operators save for their backward pass is
counted by storage, and the inputs of linear layers with it, which adapters save. Shape letters: T
tokens, H heads, E head dim of queries and keys, F head dim of values.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from vox_populi.containers.dtypes import BYTES_OF_VALUE
from vox_populi.containers.torch_dtypes import TORCH_DTYPES
from vox_populi.hf.kept_bytes import KeptByBlocks, KeptBytes
from vox_populi.hf.own_mlps import mlp_paths
from vox_populi.hf.transformers_classes import (
    FAILURES,
    backbone_of,
    built_model,
    foreign_class,
    load_transformers,
)
from vox_populi.hf.transformers_table import read_module_table
from vox_populi.model.transformers_attention import segments
from vox_populi.model.transformers_experts import register_counted_experts

_COUNTED = "vox_counted"
"""Name under which transformers knows the attention that is counted."""
_OWN = "eager"
_LONGEST = 1024
"""Tokens of the longest row that is run; what a longer one keeps follows from two shorter ones."""


def count_kept(raw: Mapping[str, object], where: str, dtype: str, row: int) -> KeptByBlocks | None:
    """What every block of a base keeps of a row, with adapters on all linear layers.

    Dropout masks are not counted.

    Args:
        raw: The content of a `config.json`.
        where: Names the file in errors.
        dtype: The compute dtype.
        row: Tokens of the row.

    Returns:
        Nothing for a class that reads values of its tensors, which are not there.
    """
    size = BYTES_OF_VALUE[dtype]
    # Shapes of grouped products are known for bf16 alone.
    for attention, counted in product((_COUNTED, _OWN), dict.fromkeys((dtype, "bfloat16"))):
        factor = size // BYTES_OF_VALUE[counted]
        try:
            counting = _Counting(raw, where, TORCH_DTYPES[counted], attention)
            return KeptByBlocks(row, tuple(each.times(factor) for each in counting.longer(row)))
        except FAILURES:
            continue
    return None


def _continued(half: int, whole: int, row: int) -> int:
    """Bytes of a longer row, which grow with its length and with that squared."""
    squared = max(2 * whole - 4 * half, 0) / _LONGEST**2
    return round((whole / _LONGEST - squared * _LONGEST) * row + squared * row * row)


class _Counting:
    """A class in its real size and without values, whose operators' tensors are counted.

    Args:
        raw: The content of a `config.json`.
        where: Names the file in errors.
        dtype: The compute dtype.
        attention: Name of the attention function.
    """

    def __init__(
        self, raw: Mapping[str, object], where: str, dtype: torch.dtype, attention: str
    ) -> None:
        transformers = load_transformers()
        transformers.AttentionInterface.register(_COUNTED, _counted_attention)
        found = foreign_class(raw, where)
        table = read_module_table(found, where)
        functions = {"attn_implementation": attention}
        if table.experts:
            functions["experts_implementation"] = register_counted_experts()
        with torch.device("meta"):
            self._model: Any = built_model(found, dtype=dtype, **functions)
        self._model.eval().requires_grad_(requires_grad=False)
        embed = self._model.get_submodule(table.embed)
        embed.weight.requires_grad_(requires_grad=True)
        tensors = (*self._model.parameters(), *self._model.buffers())
        self._fixed = {_identity(tensor) for tensor in tensors}
        self._held: dict[int, Tensor] = {}
        """Tensors that the present block keeps."""
        self._earlier: dict[int, Tensor] = {}
        """Tensors of the blocks before it, held so that no other storage gets their identity."""
        self._blocks: list[KeptBytes] = []
        self._in_mlp = 0
        for number in range(len(table.layer_kinds)):
            block = self._model.get_submodule(f"{table.blocks}{number}")
            block.register_forward_pre_hook(self._begin)
            block.register_forward_hook(self._end)
        for path in mlp_paths(table):
            mlp = self._model.get_submodule(path)
            mlp.register_forward_pre_hook(self._begin_mlp)
            mlp.register_forward_hook(self._end_mlp)
        for module in (each for each in table.modules if not each.in_expert):
            layer = self._model.get_submodule(module.theirs)
            layer.register_forward_pre_hook(lambda _, given: self._hold(given[0]))

    def longer(self, row: int) -> list[KeptBytes]:
        """What every block keeps of a row, of a long one by two shorter ones."""
        if row <= _LONGEST:
            return self.blocks(row)
        halves, wholes = self.blocks(_LONGEST // 2), self.blocks(_LONGEST)
        return [
            KeptBytes(*(_continued(a, b, row) for a, b in zip(half, whole, strict=True)))
            for half, whole in zip(halves, wholes, strict=True)
        ]

    def blocks(self, row: int) -> list[KeptBytes]:
        """What every block keeps of a row."""
        self._blocks, self._held, self._earlier = [], {}, {}
        ids_1T = torch.zeros(1, row, dtype=torch.long, device="meta")
        with saved_tensors_hooks(self._hold, lambda tensor: tensor), segments((0, row)):
            backbone_of(self._model)(input_ids=ids_1T, use_cache=False)
        self._held, self._earlier = {}, {}
        return self._blocks

    def _hold(self, tensor: Tensor) -> Tensor:
        number = _identity(tensor)
        if number not in self._fixed and number not in self._earlier:
            self._held[number] = tensor
        return tensor

    def _n_bytes(self) -> int:
        return sum(tensor.untyped_storage().nbytes() for tensor in self._held.values())

    def _begin(self, *_: object) -> None:
        self._earlier |= self._held
        self._held, self._in_mlp = {}, 0

    def _end(self, *_: object) -> None:
        self._blocks.append(KeptBytes(self._n_bytes(), self._in_mlp))

    def _begin_mlp(self, *_: object) -> None:
        self._in_mlp -= self._n_bytes()

    def _end_mlp(self, *_: object) -> None:
        self._in_mlp += self._n_bytes()


def _identity(tensor: Tensor) -> int:
    identity: int = tensor.untyped_storage()._cdata  # meta storages have no address
    return identity


def _counted_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, *given: Any, **options: Any
) -> tuple[Tensor, None]:
    """What our attention keeps, for shapes alone: `[1, T, H, F]`."""
    del module, given
    return _kept(query, key, value, options.get("sliding_window") is not None), None


class _Kept(torch.autograd.Function):
    """Attention of which only the shapes matter; with a window its result is kept twice."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, has_window: bool) -> Tensor:
        batch, heads, tokens, _ = query.shape
        out = query.new_empty(batch, tokens, heads, value.shape[3])
        sums = query.new_empty(batch, heads, tokens, dtype=torch.float32)
        twice = (torch.empty_like(out),) if has_window else ()
        ctx.save_for_backward(query, key, value, out, sums, *twice)
        return out


# torch leaves `apply` unannotated.
_kept: Any = _Kept.apply
