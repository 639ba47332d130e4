"""What happens to queries and keys between their projections and attention: norm, rotation.

Shape letters: T tokens, H heads, E head dim.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vox_populi.model.norm import Norm, RmsNorm
from vox_populi.model.rotary import RotaryTable, apply_rotary
from vox_populi.model.wide_norm import WideRmsNorm
from vox_tensor.fused_kernels import fused
from vox_tensor.fused_parts import FusedPart, NormRule


def normed_rotary(x_THE: Tensor, norm: Norm | None, table: RotaryTable | None) -> Tensor:
    """Norm heads and rotate them, in as few passes over the data as the device allows.

    Args:
        x_THE: Queries or keys.
        norm: Over the features of a head, or of all of them together; `None` for none.
        table: The angles; `None` for no rotation.
    """
    if norm is None:
        return x_THE if table is None else apply_rotary(x_THE, table)
    if table is None:
        return _normed(x_THE, norm)
    kernels = fused(FusedPart.NORMED_TURN, x_THE) if _fits(x_THE, norm, table) else None
    if kernels is None or not isinstance(norm, RmsNorm | WideRmsNorm):
        return apply_rotary(_normed(x_THE, norm), table)
    if torch.is_grad_enabled():
        return _normed_rotate(x_THE, norm.weight, table, norm.rule, kernels)
    turned_THE: Tensor = kernels.normed_rotate(x_THE, norm.weight, table, norm.rule)
    return turned_THE


def _fits(x_THE: Tensor, norm: Norm, table: RotaryTable) -> bool:
    """Whether each head has the norm and is rotated in full, and the norm does not learn."""
    learns = torch.is_grad_enabled() and norm.weight.requires_grad
    width = x_THE.shape[-1]
    return norm.weight.shape[0] == width == 2 * table.cos.shape[-1] and not learns


def _normed(x_THE: Tensor, norm: Norm) -> Tensor:
    normed_THE: Tensor
    if norm.weight.shape[0] == x_THE.shape[-1]:
        normed_THE = norm(x_THE)
        return normed_THE
    normed_THE = norm(x_THE.flatten(-2)).unflatten(-1, x_THE.shape[-2:])
    return normed_THE


class _NormedRotate(torch.autograd.Function):
    """Both as one function that keeps only its input."""

    @staticmethod
    def forward(
        ctx: Any, x_THE: Tensor, weight_E: Tensor, table: RotaryTable, rule: NormRule, kernels: Any
    ) -> Any:
        ctx.save_for_backward(x_THE, weight_E, *table)
        ctx.rule, ctx.kernels = rule, kernels
        return kernels.normed_rotate(x_THE, weight_E, table, rule)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x_THE, weight_E, *table = ctx.saved_tensors
        dx = ctx.kernels.normed_rotate_backward(grads[0], x_THE, weight_E, table, ctx.rule)
        # One entry per argument of `forward`.
        return dx, None, None, None, None


# torch leaves `apply` unannotated; the name gives it a type.
_normed_rotate: Callable[..., Tensor] = _NormedRotate.apply
