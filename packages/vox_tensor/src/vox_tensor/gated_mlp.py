"""The second half of an MLP as one autograd function: activation, then the down projection.

It saves the pre-activations only; the activated product, which a composed graph would keep
for the down projection's backward pass, is computed again. Shape letters: T tokens,
F intermediate features, O output features.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vox_tensor.fused_kernels import fused
from vox_tensor.fused_parts import FusedPart
from vox_tensor.lora import (
    Fixed,
    Projection,
    ProjectionGradients,
    factor_gradients,
    factors_in,
    flatten,
    input_gradient,
    project,
    project_backward,
    unflatten,
)

_aten = torch.ops.aten


class ActivationKind(StrEnum):
    """The non-linearity; values are those of `torch.nn.functional` and its variants."""

    SILU = "silu"
    GELU = "gelu"
    GELU_TANH = "gelu_tanh"


def activate(u_TF: Tensor, kind: ActivationKind) -> Tensor:
    """Apply the non-linearity elementwise."""
    if kind is ActivationKind.SILU:
        return F.silu(u_TF)
    return F.gelu(u_TF, approximate="tanh" if kind is ActivationKind.GELU_TANH else "none")


def _activate_backward(g_TF: Tensor, u_TF: Tensor, kind: ActivationKind) -> Tensor:
    out: Tensor
    if kind is ActivationKind.SILU:
        out = _aten.silu_backward(g_TF, u_TF)
    else:
        approximate = "tanh" if kind is ActivationKind.GELU_TANH else "none"
        out = _aten.gelu_backward(g_TF, u_TF, approximate=approximate)
    return out


def activated_down(
    u_TF: Tensor,
    up_TF: Tensor | None,
    kind: ActivationKind,
    down: Projection,
    *,
    needs_result: bool = True,
) -> Tensor:
    """Compute `down(act(u) * up)`, or `down(act(u))` without `up`: `[T, F]` -> `[T, O]`.

    `u` is the gate of a gated MLP (SwiGLU: Shazeer 2020, arXiv 2002.05202) or the only
    up-projection of a plain one (GPT-2). The down projection may carry a LoRA update; a
    dropout mask on its input is applied as in `lora.project`.

    Without `needs_result` the result has any values: autograd then records what the backward pass
    reads, and the product, a third of an MLP, is left out.
    """
    if not torch.is_grad_enabled():
        return _product(u_TF, up_TF, kind, down)
    if down.weight.requires_grad:
        h_TF = activate(u_TF, kind)
        return project(h_TF if up_TF is None else h_TF * up_TF, down)
    fixed, flat = flatten((down,))
    return _activated_down(u_TF, up_TF, kind, needs_result, fixed, *flat)


class _ActivatedDown(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        u_TF: Tensor,
        up_TF: Tensor | None,
        kind: ActivationKind,
        needs_result: bool,
        fixed: tuple[Fixed, ...],
        *flat: Any,
    ) -> Tensor:
        flat = factors_in(u_TF.dtype, flat)
        ctx.save_for_backward(u_TF, up_TF, *flat)
        ctx.kind, ctx.fixed = kind, fixed
        (down,) = unflatten(flat, fixed)
        if not needs_result:
            return u_TF.new_empty((u_TF.shape[0], down.weight.shape[0]))
        return _product(u_TF, up_TF, kind, down, needs_dx=any(ctx.needs_input_grad[:2]))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        u_TF, up_TF, *flat = ctx.saved_tensors
        (down,) = unflatten(flat, ctx.fixed)
        needs_dx = any(ctx.needs_input_grad[:2])
        du: Tensor | None
        dup: Tensor | None
        kernels = _kernels(u_TF, ctx.kind) if needs_dx and up_TF is not None else None
        if kernels is not None:
            backward = partial(kernels.gate_backward, u_TF=u_TF, up_TF=up_TF, kind=ctx.kind.value)
            du, dup, (grad_a, grad_b) = _fused_backward(grads[0], down, backward)
        else:
            act_TF = activate(u_TF, ctx.kind)
            h_TF = act_TF if up_TF is None else act_TF * up_TF
            dh_TF, (grad_a, grad_b) = project_backward(
                grads[0], h_TF, down, None, needs_dx=needs_dx
            )
            du, dup = inner_gradients(dh_TF, u_TF, up_TF, act_TF, ctx.kind)
        # One entry per argument of `forward`: u, up, kind, needs_result, fixed, then the down
        # projection's weight, bias, a, b, keep (`lora.flatten`).
        return du, dup, None, None, None, None, None, grad_a, grad_b, None


# torch leaves `apply` unannotated; the name gives it a type.
_activated_down: Callable[..., Tensor] = _ActivatedDown.apply


def _product(
    u_TF: Tensor,
    up_TF: Tensor | None,
    kind: ActivationKind,
    down: Projection,
    *,
    needs_dx: bool = False,
) -> Tensor:
    """The forward pass when autograd records nothing, with one buffer of size `[T, F]`."""
    kernels = None if up_TF is None else _kernels(u_TF, kind)
    if kernels is not None:
        return project(kernels.gate(u_TF, up_TF, kind.value), down, needs_dx=needs_dx)
    h_TF = activate(u_TF, kind)
    if up_TF is not None:
        h_TF.mul_(up_TF)
    return project(h_TF, down, needs_dx=needs_dx)


def _kernels(u_TF: Tensor, kind: ActivationKind) -> Any | None:
    """The kernels of a gate; an activation alone is one operation of torch's."""
    return fused(FusedPart(kind.value), u_TF)


def _fused_backward(
    g_TO: Tensor,
    down: Projection,
    gate_backward: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]],
) -> tuple[Tensor, Tensor, ProjectionGradients]:
    """Gradients of u, up and the down projection, reading u and up once.

    The product `act(u) * up`, which only the projection's factors need, comes last.
    """
    dh_TF, g_low_TR = input_gradient(g_TO, down, None, needs_dx=True)
    assert dh_TF is not None, "it was asked for"
    h_TF, du_TF, dup_TF = gate_backward(dh_TF)
    return du_TF, dup_TF, factor_gradients(g_TO, g_low_TR, h_TF, down)


def inner_gradients(
    dh_TF: Tensor | None, u_TF: Tensor, up_TF: Tensor | None, act_TF: Tensor, kind: ActivationKind
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of `u` and `up` of `act(u) * up`; overwrites `act_TF` and `dh_TF`."""
    if dh_TF is None:
        return None, None
    if up_TF is None:
        return _activate_backward(dh_TF, u_TF, kind), None
    # In place and in this order: `dup` needs act and dh, `du` needs dh alone, so neither buffer
    # is overwritten before its last use.
    dup_TF = act_TF.mul_(dh_TF)
    return _activate_backward(dh_TF.mul_(up_TF), u_TF, kind), dup_TF
