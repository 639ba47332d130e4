"""The norms of the families, with backward passes that save only the input.

RMSNorm: Zhang and Sennrich 2019, arXiv 1910.07467. LayerNorm: Ba et al. 2016, arXiv
1607.06450, torch's kernels. Shape letters: ... leading dims, D features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vox_tensor.fused_kernels import fused
from vox_tensor.fused_parts import FusedPart, NormRule

_aten = torch.ops.aten


class Norm(nn.Module, ABC):
    """A norm over the last dimension that can compute its backward pass from its input."""

    weight: nn.Parameter

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[..., D]`."""

    @abstractmethod
    def input_gradient(self, g: Tensor, x: Tensor) -> Tensor:
        """Gradient of the input `x` for the gradient `g` of the output, both `[..., D]`."""


class RmsNorm(Norm):
    """`x * rsqrt(mean(x^2) + eps) * weight`; arithmetic in float32, result in x's dtype."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps
        self.rule = NormRule(eps)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension: `[..., D]` to `[..., D]`."""
        if not torch.is_grad_enabled():
            kernels = fused(FusedPart.NORM, x)
            if kernels is not None:
                normed: Tensor = kernels.rms_norm(x, self.weight, self.rule)
                return normed
            wide = _wide(x)
            return _rms_scaled(x, wide, _rms_scale(wide, self.eps), self.weight)
        return _rms_norm(x, self.weight, self.eps)

    def input_gradient(self, g: Tensor, x: Tensor) -> Tensor:
        """See `Norm`."""
        kernels = fused(FusedPart.NORM, x)
        if kernels is not None:
            dx: Tensor = kernels.rms_norm_backward(g, x, self.weight, self.rule)
            return dx
        wide = _wide(x)
        return _rms_input_gradient(g, wide, self.weight, _rms_scale(wide, self.eps)).to(x.dtype)


class LayerNorm(Norm):
    """`(x - mean) * rsqrt(var + eps) * weight + bias`."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension: `[..., D]` to `[..., D]`."""
        out: Tensor = nn.functional.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)
        return out

    def input_gradient(self, g: Tensor, x: Tensor) -> Tensor:
        """See `Norm`."""
        shape, weight, bias = x.shape[-1:], self.weight, self.bias
        _, mean, scale = _aten.native_layer_norm(x, shape, weight, bias, self.eps)
        wanted = [True, False, False]
        grad: Tensor = _aten.native_layer_norm_backward(
            g, x, shape, mean, scale, weight, bias, wanted
        )[0]
        return grad


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _rms_scale(wide: Tensor, eps: float) -> Tensor:
    mean_square: Tensor = torch.linalg.vecdot(wide, wide).div_(wide.shape[-1])
    return mean_square.add_(eps).rsqrt_().unsqueeze(-1)


def _rms_scaled(x: Tensor, wide: Tensor, scale: Tensor, weight_D: Tensor) -> Tensor:
    return (wide * scale).to(x.dtype).mul_(weight_D)


def _rms_input_gradient(g: Tensor, wide: Tensor, weight_D: Tensor, scale: Tensor) -> Tensor:
    # d/dx of x * s(x) with s = (mean x^2 + eps)^-1/2: s * gw - x * s^3 * mean(gw * x)
    gw = g.to(wide.dtype) * weight_D
    mean = torch.linalg.vecdot(gw, wide).div_(wide.shape[-1]).unsqueeze(-1)
    return gw.mul_(scale).addcmul_(wide, mean.mul_(scale.pow(3)), value=-1)


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        ctx.eps = eps
        kernels = fused(FusedPart.NORM, x)
        if kernels is not None:
            # The kernels read all of x anyway, and find its scale again.
            ctx.save_for_backward(x, weight_D, None)
            normed: Tensor = kernels.rms_norm(x, weight_D, NormRule(eps))
            return normed
        wide = _wide(x)
        scale = _rms_scale(wide, eps)
        ctx.save_for_backward(x, weight_D, scale)
        return _rms_scaled(x, wide, scale, weight_D)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight_D, scale = ctx.saved_tensors
        kernels = fused(FusedPart.NORM, x) if scale is None else None
        if kernels is not None and not ctx.needs_input_grad[1]:
            dx = kernels.rms_norm_backward(grads[0], x, weight_D, NormRule(ctx.eps))
            return dx, None, None
        wide = _wide(x)
        if scale is None:
            scale = _rms_scale(wide, ctx.eps)
        grad_weight = None
        if ctx.needs_input_grad[1]:
            product = grads[0].to(wide.dtype) * (wide * scale)
            grad_weight = product.reshape(-1, x.shape[-1]).sum(0).to(weight_D.dtype)
        if not ctx.needs_input_grad[0]:
            return None, grad_weight, None
        return (
            _rms_input_gradient(grads[0], wide, weight_D, scale).to(x.dtype),
            grad_weight,
            None,
        )


# torch leaves `apply` unannotated; the name gives it a type.
_rms_norm: Callable[..., Tensor] = _RmsNorm.apply
