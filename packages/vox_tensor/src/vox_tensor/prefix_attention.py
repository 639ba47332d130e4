"""Causal attention over rows that share what they begin with.

A segment's tokens see themselves and, whole, the segments above theirs. Keys and values of a shared
segment are read once for all tokens below it: each part is attended on its own, and parts are
merged by the logarithms of their softmax sums. With maximum and sum of the whole, the gradient of
a part is that of the whole (as in Ring Attention: Liu et al. 2023, arXiv 2310.01889), so the
backward pass is exact and merges nothing.

Shape letters: T tokens, H query heads, K key/value heads, E head dim, L tokens of a path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from vox_tensor.segment_attention import for_masks, sliding_window_mask

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class Branch(NamedTuple):
    """A shared segment: tokens `end` to `last` are those below it, and see all of it."""

    start: int
    end: int
    last: int


def prefix_attention(
    q_THE: Tensor,
    k_TKE: Tensor,
    v_TKE: Tensor,
    offsets: tuple[int, ...],
    branches: tuple[Branch, ...],
    *,
    scale: float,
    window: int | None = None,
) -> Tensor:
    """Softmax attention of each token over its row up to itself: `[T, H, E]`.

    Args:
        q_THE: Queries.
        k_TKE: Keys; K divides H.
        v_TKE: Values.
        offsets: S + 1 segment borders, from 0 to T.
        branches: The segments that others are below of, in token order.
        scale: Factor of the scores, usually `E ** -0.5`.
        window: Sliding window: a token sees itself and `window - 1` tokens of its row before it.
    """
    spans = row_spans(offsets, branches)
    longest = max(sum(b - a for a, b in path) for path in spans)
    if q_THE.device.type == "cpu" and (window is None or window >= longest):
        return flash_forest(q_THE, k_TKE, v_TKE, offsets, branches, scale)
    return sdpa_forest(q_THE, k_TKE, v_TKE, spans, scale, window)


_Span = tuple[int, int]


@lru_cache(maxsize=8)
def row_spans(
    offsets: tuple[int, ...], branches: tuple[Branch, ...]
) -> tuple[tuple[_Span, ...], ...]:
    """The tokens of a row up to the end of each segment: those above it, and its own.

    Every block of a forward pass asks for the same.
    """
    return tuple(
        (*((each.start, each.end) for each in branches if each.end <= a < each.last), (a, b))
        for a, b in pairwise(offsets)
    )


def _heads_first(t_THE: Tensor) -> Tensor:
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
        q, k, v, out = (_heads_first(t) for t in (q_THE, k_TKE, v_TKE, out_THE))
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
        grad, q, k, v, out = (_heads_first(t) for t in (grads[0], q_THE, k_TKE, v_TKE, out_THE))
        grad_q, grad_k, grad_v = (_heads_first(t) for t in results)

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
"""`prefix_attention` without a window, on a CPU."""


def sdpa_forest(
    q_THE: Tensor,
    k_TKE: Tensor,
    v_TKE: Tensor,
    spans: Sequence[Sequence[_Span]],
    scale: float,
    window: int | None,
) -> Tensor:
    """`prefix_attention` on any device: each segment's queries over a copy of its row's keys."""
    q, k, v = (_heads_first(t) for t in (q_THE, k_TKE, v_TKE))
    k, v = for_masks(k, q.shape[1]), for_masks(v, q.shape[1])
    parts = []
    for path in spans:
        a, b = path[-1]
        reach = None if window is None else window - 1 + b - a
        seen = list(_last_tokens(path, reach))
        k_L, v_L = (torch.cat([t[:, :, x:y] for x, y in seen], dim=2) for t in (k, v))
        n_keys = k_L.shape[2]
        mask_TL = sliding_window_mask(b - a, n_keys, window or n_keys, q.device)
        parts.append(
            F.scaled_dot_product_attention(
                q[:, :, a:b], k_L, v_L, attn_mask=mask_TL, scale=scale, enable_gqa=True
            )
        )
    return torch.cat(parts, dim=2).squeeze(0).transpose(0, 1)


def _last_tokens(path: Sequence[_Span], most: int | None) -> Iterator[_Span]:
    """The spans of a path without what lies further back than `most` tokens from its end."""
    skipped = 0 if most is None else max(0, sum(b - a for a, b in path) - most)
    for a, b in path:
        if b - a > skipped:
            yield a + skipped, b
        skipped = max(0, skipped - (b - a))
