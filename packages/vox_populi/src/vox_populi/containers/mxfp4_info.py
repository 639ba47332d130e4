"""The entry of a tensor that is stored in MXFP4, beside those of dense tensors. No torch here.

`X` with the matrices of all experts of a layer, `[E, I, O]`, is in a file as two tensors of bytes:
`X_blocks`, `[E, O, I / 32, 16]`, and `X_scales`, `[E, O, I / 32]` (gpt-oss as it is published).
Letters: E experts, I input features, O output features.
"""

from __future__ import annotations

from dataclasses import dataclass

from vox_populi.containers.dtypes import bytes_of_values
from vox_populi.containers.safetensors_header import TensorInfo

BLOCKS = "_blocks"
SCALES = "_scales"
EXACT_DTYPE = "BF16"
"""The smallest type that holds every value of the format."""


@dataclass(frozen=True, slots=True)
class Mxfp4Info(TensorInfo):
    """A tensor that is made of two stored ones as it is read.

    Name, type and shape are those of the dense tensor; shard, start and end those of its blocks.
    """

    scales: TensorInfo
    blocks: TensorInfo

    @classmethod
    def of(cls, name: str, blocks: TensorInfo, scales: TensorInfo) -> Mxfp4Info:
        """The entry of a tensor by its parts, which must belong together."""
        experts, rows, per_row, block_bytes = blocks.shape
        shape = (experts, per_row * block_bytes * 2, rows)
        return cls(name, EXACT_DTYPE, shape, blocks.shard, blocks.start, blocks.end, scales, blocks)

    def expert(self, number: int, name: str) -> Mxfp4Info:
        """The entry of the matrix of one expert, `[I, O]`, under a name of its own."""
        blocks, scales = _entry(self.blocks, number), _entry(self.scales, number)
        start, end = blocks.start, blocks.end
        return Mxfp4Info(name, self.dtype, self.shape[-2:], self.shard, start, end, scales, blocks)

    @property
    def n_bytes(self) -> int:
        """Size of the dense tensor."""
        return bytes_of_values(self.dtype, self.shape)

    @property
    def parts(self) -> tuple[TensorInfo, ...]:
        """Blocks and scales."""
        return self.blocks, self.scales


def _entry(info: TensorInfo, number: int) -> TensorInfo:
    """One entry of the first dimension, which stays."""
    size = info.n_bytes // info.shape[0]
    start = info.start + number * size
    return TensorInfo(info.name, info.dtype, (1, *info.shape[1:]), info.shard, start, start + size)
