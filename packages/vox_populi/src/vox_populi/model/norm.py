"""RMSNorm with a backward pass that saves its input and one number per row.

Zhang and Sennrich 2019, arXiv 1910.07467. GPT-2's LayerNorm is torch's own.
Shape letters: ... leading dims, D features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class RmsNorm(nn.Module):
    """`x * rsqrt(mean(x^2) + eps) * weight`; arithmetic in float32, result in x's dtype."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension: `[..., D]` to `[..., D]`."""
        return _rms_norm(x, self.weight, self.eps)


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        scale = torch.linalg.vecdot(wide, wide).div_(x.shape[-1]).add_(eps).rsqrt_().unsqueeze(-1)
        ctx.save_for_backward(x, weight_D, scale)
        out: Tensor = (wide * scale).to(x.dtype).mul_(weight_D)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight_D, scale = ctx.saved_tensors
        g = grads[0].to(scale.dtype)
        wide = x.to(scale.dtype)
        grad_weight = None
        if ctx.needs_input_grad[1]:
            product = g * (wide * scale)
            grad_weight = product.reshape(-1, x.shape[-1]).sum(0).to(weight_D.dtype)
        if not ctx.needs_input_grad[0]:
            return None, grad_weight, None
        gw = g * weight_D
        # d/dx of x * s(x) with s = (mean x^2 + eps)^-1/2: s * gw - x * s^3 * mean(gw * x)
        mean = torch.linalg.vecdot(gw, wide).div_(x.shape[-1]).unsqueeze(-1)
        grad_x = gw.mul_(scale).addcmul_(wide, mean.mul_(scale.pow(3)), value=-1)
        return grad_x.to(x.dtype), grad_weight, None


# torch leaves `apply` unannotated; the name gives it a type.
_rms_norm: Callable[..., Tensor] = _RmsNorm.apply
