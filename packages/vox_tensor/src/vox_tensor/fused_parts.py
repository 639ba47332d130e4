"""The pointwise parts that have kernels of ours for GPUs; needs no torch."""

from __future__ import annotations

from enum import StrEnum


class FusedPart(StrEnum):
    """A part of a model; activations have the values of `gated_mlp.ActivationKind`."""

    NORM = "norm"
    TURN = "rotation"
    NORMED_TURN = "norm and rotation of heads"
    SILU = "silu"
    GELU = "gelu"
    GELU_TANH = "gelu_tanh"
    LOSS = "cross entropy"


MODULE_OF = {
    FusedPart.NORM: "norm_triton",
    FusedPart.TURN: "norm_triton",
    FusedPart.NORMED_TURN: "norm_triton",
    FusedPart.SILU: "gate_triton",
    FusedPart.GELU: "gate_triton",
    FusedPart.GELU_TANH: "gate_triton",
    FusedPart.LOSS: "loss_triton",
}
"""Where its kernels are."""
