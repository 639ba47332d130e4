"""Causal attention over rows that share what they begin with.

A segment's tokens see themselves and, whole, the segments above theirs. Keys and values of a shared
segment are read once for all tokens below it: each part is attended on its own, and parts are
merged by the logarithms of their softmax sums. With maximum and sum of the whole, the gradient of
a part is that of the whole (as in Ring Attention: Liu et al. 2023, arXiv 2310.01889), so the
backward pass is exact and merges nothing.

Shape letters: T tokens, H query heads, K key/value heads, E head dim, L tokens of a path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from vox_tensor.flash_forest import Branch, flash_forest, heads_first
from vox_tensor.segment_attention import for_masks, sliding_window_mask


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


def sdpa_forest(
    q_THE: Tensor,
    k_TKE: Tensor,
    v_TKE: Tensor,
    spans: Sequence[Sequence[_Span]],
    scale: float,
    window: int | None,
) -> Tensor:
    """`prefix_attention` on any device: each segment's queries over a copy of its row's keys."""
    q, k, v = (heads_first(t) for t in (q_THE, k_TKE, v_TKE))
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
