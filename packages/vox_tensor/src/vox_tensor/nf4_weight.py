"""A frozen weight that is stored in NF4 and dequantised while a product uses it.

Shape letters: T tokens, I input features, O output features.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import torch
from torch import Tensor
from torch.nn import functional as F

from vox_tensor.nf4 import Nf4Tensor, dequantize_nf4

Dequantizer = Callable[[Nf4Tensor, torch.dtype, Tensor | None], Tensor]
"""The type of `dequantize_nf4` and of faster functions that give the same numbers."""


class DenseCopies(StrEnum):
    """How long a dense copy of a quantised weight is kept; the numbers are the same."""

    NONE = "none"
    """Keep it for one product; it is made twice per micro-batch, in a buffer shared by all
    layers."""
    LAYER = "layer"
    """Keep it from a layer's forward to its backward product; it is made once per micro-batch."""
    STEP = "step"
    """Keep it for all micro-batches, since a frozen weight never changes; it is made once."""


class DensePool:
    """The dense copies of a model's quantised weights, kept under one policy."""

    def __init__(
        self, copies: DenseCopies = DenseCopies.NONE, dequantize: Dequantizer = dequantize_nf4
    ) -> None:
        self.copies = copies
        self.dequantize = dequantize
        self.expects_backward = True
        """False if gradients are recorded but never computed, as when something is tried out: a
        copy made for them would be kept until the next backward pass."""
        self._scratch: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def scratch(self, quantized: Nf4Tensor, dtype: torch.dtype) -> Tensor:
        """A buffer of the matrix's shape; the next call may return the same memory."""
        key = (quantized.codes.device, dtype)
        buffer = self._scratch.get(key)
        if buffer is None or buffer.numel() < quantized.n_values:
            # An inference tensor, as sampling an answer makes them, could not be written again
            # while training.
            with torch.inference_mode(mode=False):
                buffer = torch.empty(quantized.n_values, dtype=dtype, device=key[0])
            self._scratch[key] = buffer
        return buffer[: quantized.n_values].view(quantized.shape)

    def drop_scratch(self) -> None:
        """Let go of the buffer of `scratch`, which the next product makes again."""
        self._scratch.clear()


class Nf4Weight:
    """A frozen weight `[O, I]` in NF4: a `FrozenWeight` of `vox_tensor.lora`."""

    requires_grad = False

    def __init__(self, quantized: Nf4Tensor, pool: DensePool) -> None:
        self._stored = quantized
        self.pool = pool
        self._kept: Tensor | None = None

    @property
    def quantized(self) -> Nf4Tensor:
        """Codes and magnitudes."""
        return self._stored

    @property
    def shape(self) -> torch.Size:
        """Shape of the dense matrix, `[O, I]`."""
        return torch.Size(self.quantized.shape)

    @property
    def device(self) -> torch.device:
        """Device that holds the codes."""
        return self.quantized.codes.device

    def linear(self, x_TI: Tensor, bias_O: Tensor | None) -> Tensor:
        """`x @ W.T + bias`, `[T, O]`."""
        return F.linear(x_TI, self._dense(x_TI.dtype, is_kept=False), bias_O)

    def linear_before_gradient(self, x_TI: Tensor, bias_O: Tensor | None) -> Tensor:
        """Like `linear`, keeping the dense copy for `input_gradient` if the policy says so."""
        is_kept = self.pool.copies is DenseCopies.LAYER and self.pool.expects_backward
        return F.linear(x_TI, self._dense(x_TI.dtype, is_kept=is_kept), bias_O)

    def input_gradient(self, g_TO: Tensor, dx_TI: Tensor | None) -> Tensor:
        """`g @ W`, `[T, I]`, added in place to `dx_TI` if given."""
        dense_OI = self._dense(g_TO.dtype, is_kept=False)
        if self.pool.copies is DenseCopies.LAYER:
            self._kept = None
        return g_TO @ dense_OI if dx_TI is None else dx_TI.addmm_(g_TO, dense_OI)

    def _dense(self, dtype: torch.dtype, *, is_kept: bool) -> Tensor:
        """The dense matrix; use it before the next call on any weight."""
        if self._kept is not None and self._kept.dtype == dtype:
            return self._kept
        pool = self.pool
        if not is_kept and pool.copies is not DenseCopies.STEP:
            return pool.dequantize(self.quantized, dtype, pool.scratch(self.quantized, dtype))
        with torch.inference_mode(mode=False):
            self._kept = pool.dequantize(self.quantized, dtype, None)
        return self._kept
