"""A norm and the projections after it as one autograd function that keeps only its input.

Computed separately, the normalised activations would be stored for the projections' backward
pass; here they are recomputed, which costs one pass over `[T, D]`. Shape letters: T tokens,
D width, O output features of a projection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vox_populi.model.norm import Norm
from vox_tensor.lora import (
    Fixed,
    factors_in,
    flatten,
    project,
    project_backward,
    project_shared,
    projection_of,
    unflatten,
)


def normed_project(
    x_TD: Tensor, norm: Norm | None, layers: Sequence[nn.Module]
) -> tuple[Tensor, ...]:
    """Apply several linear layers to `norm(x)`, or to `x` without a norm: one `[T, O]` each.

    A trainable norm or weight (pre-training) goes through plain autograd, and so does a pass
    without gradients.
    """
    projections = [projection_of(layer, x_TD) for layer in layers]
    if norm is None:
        return project_shared(x_TD, projections)
    is_plain = not torch.is_grad_enabled() or norm.weight.requires_grad
    if is_plain or any(p.weight.requires_grad for p in projections):
        return project_shared(norm(x_TD), projections)
    fixed, flat = flatten(projections)
    return _normed_project(x_TD, norm, fixed, *flat)


class _NormedProject(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_TD: Tensor, norm: Norm, fixed: tuple[Fixed, ...], *flat: Any) -> Any:
        flat = factors_in(x_TD.dtype, flat)
        ctx.save_for_backward(x_TD, *flat)
        ctx.norm, ctx.fixed = norm, fixed
        normed_TD = norm(x_TD)
        needs_dx = ctx.needs_input_grad[0]
        return tuple(project(normed_TD, p, needs_dx=needs_dx) for p in unflatten(flat, fixed))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x_TD, *flat = ctx.saved_tensors
        # Recomputed rather than saved: the norm is cheap, and its output as large as its input.
        with torch.no_grad():
            normed_TD = ctx.norm(x_TD)
        needs_dx = ctx.needs_input_grad[0]
        g_TD: Tensor | None = None
        out: list[Tensor | None] = []
        for g_TO, p in zip(grads, unflatten(flat, ctx.fixed), strict=True):
            g_TD, (grad_a, grad_b) = project_backward(g_TO, normed_TD, p, g_TD, needs_dx=needs_dx)
            out.extend((None, None, grad_a, grad_b, None))
        # The projections' gradients add up at the norm's output, and the norm follows once.
        dx = None if g_TD is None else ctx.norm.input_gradient(g_TD, x_TD)
        # One entry per argument of `forward`: x, norm, fixed, then the tensors of `lora.flatten`.
        return dx, None, None, *out


# torch leaves `apply` unannotated; the name gives it a type.
_normed_project: Callable[..., tuple[Tensor, ...]] = _NormedProject.apply
