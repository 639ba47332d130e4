"""RMSNorm that multiplies by its weight in float32, with a backward pass that saves only the input.

`norm.RmsNorm` rounds to the dtype of its input before it multiplies, as Llama does; here the result
is rounded once. In float32 both are the same. Shape letters: ... leading dims, D features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vox_populi.model.norm import Norm
from vox_tensor.fused_kernels import fused
from vox_tensor.fused_parts import FusedPart, NormRule


class WideRmsNorm(Norm):
    """`x * rsqrt(mean(x^2) + eps) * (centre + weight)`, rounded to x's dtype at the end.

    Zhang and Sennrich 2019, arXiv 1910.07467.
    """

    def __init__(self, dim: int, eps: float, centre: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((dim,), 1.0 - centre))
        self.eps, self.centre = eps, centre
        self.rule = NormRule(eps, centre, is_wide=True)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension: `[..., D]` to `[..., D]`."""
        if not torch.is_grad_enabled():
            return _normed(x, self.weight, self.eps, self.centre)[0]
        return _wide_rms_norm(x, self.weight, self.eps, self.centre)

    def input_gradient(self, g: Tensor, x: Tensor) -> Tensor:
        """See `Norm`."""
        kernels = fused(FusedPart.NORM, x)
        if kernels is not None:
            dx: Tensor = kernels.rms_norm_backward(g, x, self.weight, self.rule)
            return dx
        scale = _scale(_wide(x), self.eps)
        return _input_gradient(g, x, _factor(x, self.weight, self.centre), scale)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _scale(wide: Tensor, eps: float) -> Tensor:
    mean_square: Tensor = torch.linalg.vecdot(wide, wide).div_(wide.shape[-1])
    return mean_square.add_(eps).rsqrt_().unsqueeze(-1)


def _factor(x: Tensor, weight_D: Tensor, centre: float) -> Tensor:
    wide_D = weight_D.to(torch.promote_types(x.dtype, torch.float32))
    return wide_D + centre if centre else wide_D


def _normed(x: Tensor, weight_D: Tensor, eps: float, centre: float) -> tuple[Tensor, Tensor | None]:
    """The result and the scale of each row, which a GPU's kernels find again."""
    kernels = fused(FusedPart.NORM, x)
    if kernels is not None:
        return kernels.rms_norm(x, weight_D, NormRule(eps, centre, is_wide=True)), None
    wide = _wide(x)
    scale = _scale(wide, eps)
    return (wide * scale).mul_(_factor(x, weight_D, centre)).to(x.dtype), scale


def _input_gradient(g: Tensor, x: Tensor, factor_D: Tensor, scale: Tensor) -> Tensor:
    # d/dx of x * s(x) with s = (mean x^2 + eps)^-1/2: s * gw - x * s^3 * mean(gw * x)
    wide = _wide(x)
    gw = g.to(wide.dtype) * factor_D
    mean = torch.linalg.vecdot(gw, wide).div_(wide.shape[-1]).unsqueeze(-1)
    return gw.mul_(scale).addcmul_(wide, mean.mul_(scale.pow(3)), value=-1).to(x.dtype)


class _WideRmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_D: Tensor, eps: float, centre: float) -> Tensor:
        out, scale = _normed(x, weight_D, eps, centre)
        ctx.save_for_backward(x, weight_D, scale)
        ctx.eps, ctx.centre = eps, centre
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight_D, scale = ctx.saved_tensors
        grad_x = grad_weight = None
        kernels = fused(FusedPart.NORM, x) if scale is None else None
        if kernels is not None and not ctx.needs_input_grad[1]:
            rule = NormRule(ctx.eps, ctx.centre, is_wide=True)
            return kernels.rms_norm_backward(grads[0], x, weight_D, rule), None, None, None
        if scale is None:
            scale = _scale(_wide(x), ctx.eps)
        if ctx.needs_input_grad[1]:
            product = grads[0].to(scale.dtype) * (_wide(x) * scale)
            grad_weight = product.reshape(-1, x.shape[-1]).sum(0).to(weight_D.dtype)
        if ctx.needs_input_grad[0]:
            grad_x = _input_gradient(grads[0], x, _factor(x, weight_D, ctx.centre), scale)
        return grad_x, grad_weight, None, None


# torch leaves `apply` unannotated; the name gives it a type.
_wide_rms_norm: Callable[..., Tensor] = _WideRmsNorm.apply
