"""The pointwise parts that have kernels of ours for GPUs; needs no torch."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class FusedPart(StrEnum):
    """A part of a model; activations have the values of `gated_mlp.ActivationKind`."""

    NORM = "norm"
    TURN = "rotation"
    NORMED_TURN = "norm and rotation of heads"
    SILU = "silu"
    GELU = "gelu"
    GELU_TANH = "gelu_tanh"
    LOSS = "cross entropy"


class NormRule(NamedTuple):
    """How an RMSNorm computes."""

    eps: float
    centre: float = 0.0
    """What is added to the weight."""
    is_wide: bool = False
    """Whether the product with the weight is taken in float32; otherwise what it multiplies has
    been rounded to the tensors' dtype."""


MODULE_OF = {
    FusedPart.NORM: "norm_triton",
    FusedPart.TURN: "norm_triton",
    FusedPart.NORMED_TURN: "norm_triton",
    FusedPart.SILU: "gate_triton",
    FusedPart.GELU: "gate_triton",
    FusedPart.GELU_TANH: "gate_triton",
    FusedPart.LOSS: "loss_triton",
}
"""The module with its kernels."""
