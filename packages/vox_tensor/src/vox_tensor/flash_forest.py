"""torch's flash kernel for a CPU, once per segment of a pack, writing into one output.

With `scaled_dot_product_attention`, every segment's output would be kept in addition to the
joined one. These are the kernels it dispatches to on a CPU. What segments share is attended once
and merged by the logarithms of the softmax sums; `prefix_attention` says why that is exact.

Shape letters: T tokens, H query heads, K key/value heads, E head dim.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class Branch(NamedTuple):
    """A shared segment: tokens `end` to `last` are those below it, and see all of it."""

    start: int
    end: int
    last: int


def heads_first(t_THE: Tensor) -> Tensor:
    """A `[1, H, T, E]` view: the kernels take strides, so nothing is copied."""
    return t_THE.transpose(0, 1).unsqueeze(0)


class _FlashForest(torch.autograd.Function):
    """torch's CPU flash kernel: once per segment, and once per shared one for all below it."""

    @staticmethod
    def forward(
        ctx: Any,
        q_THE: Tensor,
        k_TKE: Tensor,
        v_TKE: Tensor,
        offsets: tuple[int, ...],
        branches: tuple[Branch, ...],
        scale: float,
    ) -> Tensor:
        out_THE = torch.empty(q_THE.shape, dtype=q_THE.dtype, device=q_THE.device)
        q, k, v, out = (heads_first(t) for t in (q_THE, k_TKE, v_TKE, out_THE))
        sums = []
        for a, b in pairwise(offsets):
            part = slice(a, b)
            out[:, :, part], log_sum = _flash(
                q[:, :, part], k[:, :, part], v[:, :, part], 0.0, True, scale=scale
            )
            sums.append(log_sum)
        log_sums = torch.cat(sums, dim=2)
        for start, end, last in branches:
            keys, below = slice(start, end), slice(end, last)
            seen = _flash(q[:, :, below], k[:, :, keys], v[:, :, keys], 0.0, False, scale=scale)
            _merge(out[:, :, below], log_sums[:, :, below], *seen)
        ctx.save_for_backward(q_THE, k_TKE, v_TKE, out_THE, log_sums)
        ctx.offsets, ctx.branches, ctx.scale = offsets, branches, scale
        return out_THE

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        q_THE, k_TKE, v_TKE, out_THE, log_sums = ctx.saved_tensors
        results = [torch.empty(t.shape, dtype=t.dtype) for t in (q_THE, k_TKE, v_TKE)]
        grad, q, k, v, out = (heads_first(t) for t in (grads[0], q_THE, k_TKE, v_TKE, out_THE))
        grad_q, grad_k, grad_v = (heads_first(t) for t in results)

        def found(queries: slice, keys: slice, *, causal: bool) -> tuple[Tensor, Tensor, Tensor]:
            parts = (
                *(grad[:, :, queries], q[:, :, queries], k[:, :, keys], v[:, :, keys]),
                *(out[:, :, queries], log_sums[:, :, queries]),
            )
            three: tuple[Tensor, Tensor, Tensor] = _flash_backward(
                *parts, 0.0, causal, scale=ctx.scale
            )
            return three

        for a, b in pairwise(ctx.offsets):
            part = slice(a, b)
            grad_q[:, :, part], grad_k[:, :, part], grad_v[:, :, part] = found(
                part, part, causal=True
            )
        for start, end, last in ctx.branches:
            keys, below = slice(start, end), slice(end, last)
            for target, more in zip(
                (grad_q[:, :, below], grad_k[:, :, keys], grad_v[:, :, keys]),
                found(below, keys, causal=False),
                strict=True,
            ):
                target.add_(more)
        return *results, None, None, None


def _merge(out: Tensor, log_sum: Tensor, more: Tensor, more_log_sum: Tensor) -> None:
    """Add attention over more keys to `out`, whose weights then sum to 1 again, in place."""
    total = torch.logaddexp(log_sum, more_log_sum)
    ours, theirs = ((each - total).exp_().unsqueeze(-1) for each in (log_sum, more_log_sum))
    out.copy_((out * ours).addcmul_(more, theirs))
    log_sum.copy_(total)


# torch leaves `apply` unannotated; the name gives it a type.
flash_forest: Callable[..., Tensor] = _FlashForest.apply
"""Attention of each token over its row up to itself, without a window, on a CPU."""
