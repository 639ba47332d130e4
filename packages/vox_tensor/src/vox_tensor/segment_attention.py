"""Causal attention over packed rows that cannot see each other.

Segments are attended one by one: no `[T, T]` mask exists, and the cost is the sum of the
squares of the rows' lengths. Shape letters: T tokens, H query heads, K key/value heads, E head
dim, L tokens of a segment.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F


def segment_attention(
    q_THE: Tensor,
    k_TKE: Tensor,
    v_TKE: Tensor,
    offsets: Sequence[int],
    *,
    scale: float,
    window: int | None = None,
) -> Tensor:
    """Softmax attention of each token over its own segment up to itself: `[T, H, E]`.

    Grouped-query attention (Ainslie et al. 2023, arXiv 2305.13245): query head h reads
    key/value head `h // (H / K)`.

    Args:
        q_THE: Queries.
        k_TKE: Keys; K divides H.
        v_TKE: Values.
        offsets: S + 1 segment borders, from 0 to T.
        scale: Factor of the scores, usually `E ** -0.5`.
        window: Sliding window: a token sees itself and `window - 1` tokens before it.
    """
    groups = q_THE.shape[1] // k_TKE.shape[1]
    if groups > 1:
        k_TKE = k_TKE.repeat_interleave(groups, dim=1)
        v_TKE = v_TKE.repeat_interleave(groups, dim=1)
    # [1, H, T, E] views: the kernel takes strides, so no segment is copied.
    q, k, v = (t.transpose(0, 1).unsqueeze(0) for t in (q_THE, k_TKE, v_TKE))
    parts = [
        _attend(q[:, :, a:b], k[:, :, a:b], v[:, :, a:b], scale, window)
        for a, b in pairwise(offsets)
    ]
    out = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
    return out.squeeze(0).transpose(0, 1)


def _attend(q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None) -> Tensor:
    length = q.shape[2]
    if window is None or window >= length:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
    mask_LL = sliding_window_mask(length, window, q.device)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask_LL, scale=scale)


def sliding_window_mask(length: int, window: int, device: torch.device) -> Tensor:
    """Bool `[L, L]`: True where query i may see key j, that is `i - window < j <= i`."""
    i = torch.arange(length, device=device)
    distance = i.unsqueeze(1) - i.unsqueeze(0)
    return (distance >= 0) & (distance < window)
