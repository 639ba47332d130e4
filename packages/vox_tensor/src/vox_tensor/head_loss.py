"""Cross entropy of a linear head without its logits, with the gradient made in the forward pass.

Only supervised positions come in, and the full `[P, V]` logits never exist. Each chunk needs two
products: `h @ W.T` for the logits and `softmax @ W` for the gradient of `h`, made while the
chunk's probabilities are available, so the backward pass recomputes nothing (the technique of
Liger-Kernel, arXiv 2410.10989, without the product for a frozen head's gradient).

Shape letters: P supervised positions, C rows of a chunk, D features, V vocabulary, R rank.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vox_tensor.fused_kernels import fused
from vox_tensor.fused_parts import FusedPart
from vox_tensor.lora import (
    Fixed,
    Projection,
    detach,
    flatten,
    project,
    project_backward,
    unflatten,
)
from vox_tensor.wide_sum import wide_sum

CHUNK_ROWS = 256
"""Rows of logits alive at a time: enough for a full-speed product, few enough to stay small."""


def linear_cross_entropy(
    h_PD: Tensor,
    head: Projection,
    targets_P: Tensor,
    chunk_rows: int = CHUNK_ROWS,
    weights_P: Tensor | None = None,
    cap: float | None = None,
) -> Tensor:
    """Sum over positions of `-log softmax(head(h))[target]`, as a float32 scalar (f64 for f64).

    Gradients flow to `h_PD`, to the head's LoRA factors, and to its weight if that trains.
    A head with a bias adds it to the logits; the bias gets no gradient.

    Args:
        h_PD: Hidden states at supervised positions only.
        head: Weight `[V, D]`, optionally adapted.
        targets_P: int64 ids, each in `[0, V)`.
        chunk_rows: Rows of logits to hold at a time.
        weights_P: What each position's loss is multiplied by; `None` for 1. Gets no gradient.
        cap: Soft cap: logits x become `cap * tanh(x / cap)` (Gemma 2: arXiv 2408.00118).

    Raises:
        ValueError: When the number of targets or weights is not that of hidden states.
    """
    for name, given in (("targets", targets_P), ("weights", weights_P)):
        if given is not None and given.shape[0] != h_PD.shape[0]:
            message = f"{h_PD.shape[0]} hidden states but {given.shape[0]} {name}"
            raise ValueError(message)
    if not torch.is_grad_enabled():
        h_PD, head = h_PD.detach(), detach(head)
    fixed, flat = flatten((head,))
    return _linear_cross_entropy(h_PD, _Wanted(targets_P, weights_P, cap), chunk_rows, fixed, *flat)


class _Wanted(NamedTuple):
    """What the positions should predict, how much each counts, and the cap of the logits."""

    targets_P: Tensor
    weights_P: Tensor | None
    cap: float | None

    def chunk(self, rows: slice) -> _Wanted:
        """The part of one chunk."""
        weights_P = self.weights_P
        weights_C = None if weights_P is None else weights_P[rows]
        return _Wanted(self.targets_P[rows], weights_C, self.cap)


class _Gradients(NamedTuple):
    """Buffers the forward pass adds to; `None` where no gradient is wanted."""

    h: Tensor | None
    weight: Tensor | None
    a: Tensor | None
    b: Tensor | None


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        h_PD: Tensor,
        wanted: _Wanted,
        chunk_rows: int,
        fixed: tuple[Fixed, ...],
        *flat: Any,
    ) -> Tensor:
        weight, _, a, b, _ = flat
        (head,) = unflatten(flat, fixed)
        # Indices of `forward`'s arguments: 0 is h, 4 to 8 are the head's weight, bias, a, b, keep.
        wants_h, wants_weight = ctx.needs_input_grad[0], ctx.needs_input_grad[4]
        wants_low_rank = a is not None and ctx.needs_input_grad[6]
        grads = _Gradients(
            torch.empty_like(h_PD) if wants_h else None,
            torch.zeros_like(weight) if wants_weight else None,
            torch.zeros_like(a) if wants_low_rank else None,
            torch.zeros_like(b) if wants_low_rank else None,
        )
        losses = wide_sum(h_PD.device)
        for start in range(0, h_PD.shape[0], chunk_rows):
            rows = slice(start, start + chunk_rows)
            losses.add(_chunk(h_PD, head, wanted, rows, grads))
        # The gradients are complete here up to the factor that `backward` receives, so only they
        # are saved: neither the hidden states nor the logits.
        ctx.save_for_backward(*grads)
        is_f64 = h_PD.dtype == torch.float64
        return losses.total().to(torch.float64 if is_f64 else torch.float32)

    @staticmethod
    def backward(ctx: Any, *grad_out: Tensor) -> Any:
        (g,) = grad_out
        grads = [None if t is None else t * g.to(t.dtype) for t in ctx.saved_tensors]
        grad_h, grad_weight, grad_a, grad_b = grads
        return grad_h, None, None, None, grad_weight, None, grad_a, grad_b, None


# torch leaves `apply` unannotated; the name gives it a type.
_linear_cross_entropy: Callable[..., Tensor] = _LinearCrossEntropy.apply


def _chunk(
    h_PD: Tensor, head: Projection, wanted: _Wanted, rows: slice, grads: _Gradients
) -> Tensor:
    """Losses `[C]` of one chunk; fills its part of `grads`."""
    h_CD = h_PD[rows]
    part = head if head.keep is None else head._replace(keep=head.keep[rows])
    logits_CV = project(h_CD, part, needs_dx=grads.h is not None)
    loss_C, g_CV = _losses(
        logits_CV, wanted.chunk(rows), wants_gradient=any(t is not None for t in grads)
    )
    if g_CV is None:
        return loss_C
    dh_CD, (grad_a, grad_b) = project_backward(g_CV, h_CD, part, None, needs_dx=grads.h is not None)
    if grads.h is not None and dh_CD is not None:
        grads.h[rows] = dh_CD
    if grads.weight is not None:
        grads.weight.addmm_(g_CV.t(), h_CD)
    for buffer, grad in ((grads.a, grad_a), (grads.b, grad_b)):
        if buffer is not None and grad is not None:
            buffer.add_(grad)
    return loss_C


def _losses(
    logits_CV: Tensor, wanted: _Wanted, *, wants_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Losses `[C]`, and the gradient of the logits if wanted; overwrites the logits."""
    targets_C, weights_C, cap = wanted
    if cap is not None:
        return _capped_losses(logits_CV, wanted, cap, wants_gradient=wants_gradient)
    kernels = fused(FusedPart.LOSS, logits_CV)
    if kernels is not None:
        loss_C: Tensor = kernels.row_losses(
            logits_CV, targets_C, weights_C, wants_gradient=wants_gradient
        )
        return loss_C, logits_CV if wants_gradient else None
    target_C = targets_C.unsqueeze(1)
    wide = torch.promote_types(logits_CV.dtype, torch.float32)
    # One kernel that walks a row while it is in cache; `out=` spares a [C, V] allocation.
    log_p_CV = torch.log_softmax(logits_CV, dim=-1, dtype=wide)
    loss_C = -log_p_CV.gather(1, target_C).squeeze(1)
    if weights_C is not None:
        loss_C.mul_(weights_C)
    if not wants_gradient:
        return loss_C, None
    # The gradient of the loss with respect to the logits is softmax minus one-hot, made in the
    # buffer of the log-probabilities, whose last use was the line above.
    g_CV = log_p_CV.exp_()
    g_CV.scatter_add_(1, target_C, -torch.ones_like(target_C, dtype=wide))
    if weights_C is not None:
        g_CV.mul_(weights_C.unsqueeze(1))
    return loss_C, g_CV.to(logits_CV.dtype)


def _capped_losses(
    logits_CV: Tensor, wanted: _Wanted, cap: float, *, wants_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """The same for logits x that become `cap * tanh(x / cap)`, in float32 at least."""
    wide = torch.promote_types(logits_CV.dtype, torch.float32)
    wide_CV = logits_CV.to(wide)
    tangent_CV = (wide_CV / cap).tanh_()
    capped_CV = torch.mul(tangent_CV, cap, out=wide_CV)
    loss_C, g_CV = _losses(capped_CV, wanted._replace(cap=None), wants_gradient=wants_gradient)
    if g_CV is None:
        return loss_C, None
    # The slope of the cap: d/dx of cap * tanh(x / cap) is 1 - tanh(x / cap)^2.
    slope_CV = tangent_CV.square_().neg_().add_(1)
    return loss_C, g_CV.mul_(slope_CV).to(logits_CV.dtype)
