"""NF4 weights whose codes and magnitudes are parameters, so that FSDP can divide them.

Packed bytes are ordinary frozen uint8 parameters: nothing casts them or computes with them, and
what FSDP gathers are the same bytes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vox_tensor.nf4 import NestedScales, Nf4Tensor
from vox_tensor.nf4_weight import DensePool, Nf4Weight


class PackedParts(nn.Module):
    """Codes and magnitudes of one matrix.

    Attributes:
        codes: uint8 `[ceil(N / 2), 1]`.
        scales: Magnitude of each block, float32 `[B]`; with double quantisation uint8.
        group_scales: With double quantisation, float32 per group of 256 blocks.
    """

    def __init__(self, quantized: Nf4Tensor) -> None:
        super().__init__()
        scales = quantized.scales
        self.codes = _frozen(quantized.codes)
        self._levels: tuple[Tensor, Tensor] | None = None
        if isinstance(scales, NestedScales):
            # A scalar and a table of 1 KiB: every process keeps them.
            self._levels = scales.levels, scales.offset
            self.scales = _frozen(scales.codes_B)
            self.group_scales = _frozen(scales.absmax_G)
        else:
            self.scales = _frozen(scales)
        self.shape = torch.Size(quantized.shape)
        self.block_size, self.dtype = quantized.block_size, quantized.dtype

    def quantized(self) -> Nf4Tensor:
        """The matrix, as far as it is here: all of it while FSDP has it gathered."""
        scales: Tensor | NestedScales = self.scales
        if self._levels is not None:
            levels, offset = self._levels
            scales = NestedScales(
                codes_B=self.scales, absmax_G=self.group_scales, levels=levels, offset=offset
            )
        return Nf4Tensor(
            codes=self.codes,
            scales=scales,
            shape=tuple(self.shape),
            block_size=self.block_size,
            dtype=self.dtype,
        )


class DividedNf4Weight(Nf4Weight):
    """A frozen weight over `PackedParts`; used only while they are gathered."""

    def __init__(self, parts: PackedParts, pool: DensePool) -> None:
        super().__init__(parts.quantized(), pool)
        self._parts = parts
        # Nothing else may hold the whole matrix.
        del self._stored

    @property
    def quantized(self) -> Nf4Tensor:
        """The codes, as they are now."""
        return self._parts.quantized()

    @property
    def shape(self) -> torch.Size:
        """Shape of the dense matrix, `[O, I]`."""
        return self._parts.shape


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)
