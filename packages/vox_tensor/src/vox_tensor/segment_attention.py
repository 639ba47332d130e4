"""Causal attention over packed rows that cannot see each other.

Segments are attended one by one, on CUDA by one kernel: there is no `[T, T]` mask, and the cost
is the sum of the squares of the rows' lengths. Shape letters: T tokens, H query heads, K key/value
heads, E head dim, L tokens of a segment or of a continued sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from vox_tensor.flash_forest import flash_forest, heads_first
from vox_tensor.varlen_attention import varlen_segments, why_no_varlen


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
    key/value head `h // (H / K)`; keys and values are never repeated in memory.

    Args:
        q_THE: Queries.
        k_TKE: Keys; K divides H.
        v_TKE: Values.
        offsets: S + 1 segment borders, from 0 to T.
        scale: Factor of the scores, usually `E ** -0.5`.
        window: Sliding window: a token sees itself and `window - 1` tokens before it.
    """
    longest = max(b - a for a, b in pairwise(offsets))
    if q_THE.device.type == "cpu" and (window is None or window >= longest):
        return flash_forest(q_THE, k_TKE, v_TKE, tuple(offsets), (), scale)
    dim, n_sharing = q_THE.shape[2], q_THE.shape[1] // k_TKE.shape[1]
    if why_no_varlen(q_THE.device, q_THE.dtype, dim, n_sharing) is None:
        return varlen_segments(q_THE, k_TKE, v_TKE, offsets, scale, window)
    return sdpa_segments(q_THE, k_TKE, v_TKE, offsets, scale, window)


def continued_attention(
    q_THE: Tensor, k_LKE: Tensor, v_LKE: Tensor, *, scale: float, window: int | None = None
) -> Tensor:
    """Softmax attention of the last T of L tokens over all L up to themselves: `[T, H, E]`.

    The result of `segment_attention` for the last T tokens of one segment, without computing the
    other queries.

    Args:
        q_THE: Queries of the last T tokens.
        k_LKE: Keys of all L tokens; L is larger than T.
        v_LKE: Values of all L tokens.
        scale: Factor of the scores.
        window: As for `segment_attention`.
    """
    n_new, n_heads, n_keys = q_THE.shape[0], q_THE.shape[1], k_LKE.shape[0]
    if window is not None and n_keys - n_new >= window:
        # No query reaches further back than the first one does.
        n_keys = n_new + window - 1
        k_LKE, v_LKE = k_LKE[-n_keys:], v_LKE[-n_keys:]
    k, v = heads_first(k_LKE), heads_first(v_LKE)
    if n_new == 1:
        # The common case of generation, with one new token. It attends to everything, so no mask
        # is needed, and without a mask torch uses its fast kernels.
        # The query heads of a key head see the same keys: they go in as its queries.
        n_groups = k_LKE.shape[1]
        grouped = q_THE.reshape(1, n_groups, n_heads // n_groups, -1)
        return F.scaled_dot_product_attention(grouped, k, v, scale=scale).reshape(q_THE.shape)
    # torch's `is_causal` aligns a query with the key of the same index, but here the queries are
    # the last of the keys, so the mask is written out.
    mask_TL = sliding_window_mask(n_new, n_keys, window or n_keys, q_THE.device)
    k, v = for_masks(k, n_heads), for_masks(v, n_heads)
    out = F.scaled_dot_product_attention(
        heads_first(q_THE), k, v, attn_mask=mask_TL, scale=scale, enable_gqa=True
    )
    return out.squeeze(0).transpose(0, 1)


def padded_attention(
    q_NHE: Tensor, k_NLKE: Tensor, v_NLKE: Tensor, mask_NL: Tensor, *, scale: float
) -> Tensor:
    """Softmax attention of one token of each of N texts over its own keys: `[N, H, E]`.

    Args:
        q_NHE: A query for each text.
        k_NLKE: Keys of each text, padded to the longest.
        v_NLKE: Values of each text.
        mask_NL: Which keys each query sees; at least one.
        scale: Factor of the scores.
    """
    n_texts, n_heads, dim = q_NHE.shape
    n_groups = k_NLKE.shape[2]
    # As in `continued_attention`: the query heads of a key head go in as its queries.
    grouped = q_NHE.reshape(n_texts, n_groups, n_heads // n_groups, dim)
    k, v = k_NLKE.transpose(1, 2), v_NLKE.transpose(1, 2)
    mask = mask_NL.view(n_texts, 1, 1, -1)
    out = F.scaled_dot_product_attention(grouped, k, v, attn_mask=mask, scale=scale)
    return out.reshape(q_NHE.shape)


def sdpa_segments(
    q_THE: Tensor,
    k_TKE: Tensor,
    v_TKE: Tensor,
    offsets: Sequence[int],
    scale: float,
    window: int | None,
) -> Tensor:
    """`segment_attention` on any device, with `scaled_dot_product_attention` per segment."""
    q, k, v = (heads_first(t) for t in (q_THE, k_TKE, v_TKE))
    k, v = for_masks(k, q.shape[1]), for_masks(v, q.shape[1])
    # Split at once: the gradient of a slice is a tensor of zeros as large as the pack.
    sizes = [b - a for a, b in pairwise(offsets)]
    pieces = zip(*(t.split(sizes, dim=2) for t in (q, k, v)), strict=True)
    parts = [_attend(q_L, k_L, v_L, scale, window) for q_L, k_L, v_L in pieces]
    return torch.cat(parts, dim=2).squeeze(0).transpose(0, 1)


def _attend(q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None) -> Tensor:
    length, grouped = q.shape[2], q.shape[1] != k.shape[1]
    if window is None or window >= length:
        return F.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=scale, enable_gqa=grouped
        )
    mask_LL = sliding_window_mask(length, length, window, q.device)
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask_LL, scale=scale, enable_gqa=grouped
    )


def for_masks(t: Tensor, n_heads: int) -> Tensor:
    """Keys or values `[1, K, L, E]` as they are, on CUDA with a copy for each query head.

    There, no kernel for float32 or for masks shares keys between heads, except the one that
    writes all scores to memory.
    """
    is_shared = t.shape[1] != n_heads
    if t.device.type != "cuda" or not is_shared:
        return t
    return t.repeat_interleave(n_heads // t.shape[1], dim=1)


def sliding_window_mask(n_queries: int, n_keys: int, window: int, device: torch.device) -> Tensor:
    """Bool `[T, L]`: True where a query may see a key, at most `window - 1` keys behind it.

    The queries are those of the last `n_queries` keys.
    """
    i = torch.arange(n_keys - n_queries, n_keys, device=device)
    distance = i.unsqueeze(1) - torch.arange(n_keys, device=device).unsqueeze(0)
    return (distance >= 0) & (distance < window)
