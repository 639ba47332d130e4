"""Causal attention over packed rows with a soft cap on the scores, `cap * tanh(scores / cap)`.

No kernel of torch has the cap (Gemma 2: arXiv 2408.00118), so scores are written to memory here, of
some queries at a time. The backward pass computes them again from the logarithms of the softmax
sums, as flash attention does (Dao 2023, arXiv 2307.08691). Arithmetic is in float32 at least.

Shape letters: T tokens, H query heads, K key/value heads, G query heads of each, E head dim, B
queries of a block, L keys, N texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vox_tensor.score_rule import ScoreRule

BLOCK_SCORES = 2**22
"""Scores in memory at a time; four tensors have so many, 64 MiB together."""

Spans = tuple[tuple[int, int], ...]
"""Tokens of a pack that a row consists of; those of the last are its queries."""


def capped_segments(
    q_THE: Tensor, k_TKE: Tensor, v_TKE: Tensor, rows: tuple[Spans, ...], rule: ScoreRule
) -> Tensor:
    """Softmax attention of each token over its row up to itself: `[T, H, E]`.

    Args:
        q_THE: Queries.
        k_TKE: Keys; K divides H.
        v_TKE: Values.
        rows: The rows up to the end of each segment, in token order.
        rule: Scale, window and cap, which must be there.
    """
    return _capped(q_THE, k_TKE, v_TKE, rows, rule)


def capped_continuation(q_THE: Tensor, k_LKE: Tensor, v_LKE: Tensor, rule: ScoreRule) -> Tensor:
    """Softmax attention of the last T of L tokens over all L up to themselves: `[T, H, E]`.

    Args:
        q_THE: Queries of the last T tokens.
        k_LKE: Keys of all tokens.
        v_LKE: Values of all tokens.
        rule: Scale, window and cap, which must be there.
    """
    out_THE = torch.empty_like(q_THE, memory_format=torch.contiguous_format)
    for block in _blocks(q_THE.shape, k_LKE.shape[0], rule):
        q_KGBE, k_KLE, v_KLE = _parts(block, q_THE, k_LKE, v_LKE)
        capped, _ = _capped_scores(q_KGBE, k_KLE, block, rule)
        out_THE[block.queries] = _tokens_first(capped.softmax(-1) @ v_KLE)
    return out_THE


def capped_slots(
    q_NHE: Tensor, k_NLKE: Tensor, v_NLKE: Tensor, mask_NL: Tensor, rule: ScoreRule
) -> Tensor:
    """Softmax attention of one token of each of N texts over its own keys: `[N, H, E]`.

    Args:
        q_NHE: A query for each text.
        k_NLKE: Keys of each text, padded to the longest.
        v_NLKE: Values of each text.
        mask_NL: Which keys each query sees; the window is part of it.
        rule: Scale and cap.
    """
    q_NKGE = _wide(q_NHE.unflatten(1, (k_NLKE.shape[2], -1)))
    products = torch.einsum("nkge,nlke->nkgl", q_NKGE, _wide(k_NLKE))
    capped = torch.tanh(products * (rule.scale / _cap(rule))) * _cap(rule)
    capped.masked_fill_(~mask_NL[:, None, None, :], -torch.inf)
    out_NKGE = torch.einsum("nkgl,nlke->nkge", capped.softmax(-1), _wide(v_NLKE))
    return out_NKGE.flatten(1, 2).to(q_NHE.dtype)


def _cap(rule: ScoreRule) -> float:
    assert rule.cap is not None, "without a cap torch's kernels attend"
    return rule.cap


def _wide_dtype(t: Tensor) -> torch.dtype:
    return torch.promote_types(t.dtype, torch.float32)


def _wide(t: Tensor) -> Tensor:
    return t.to(_wide_dtype(t))


class _Block(NamedTuple):
    """Some queries of a row and the keys that any of them sees."""

    queries: slice
    """Among the row's queries."""
    keys: slice
    """Among the row's keys."""
    ahead: int
    """Place of the first query after the first key."""


def _blocks(shape: torch.Size, n_keys: int, rule: ScoreRule) -> Iterator[_Block]:
    """The queries of a row, which are those of its last tokens, in blocks that fit in memory."""
    n_queries, n_heads = shape[0], shape[1]
    step = max(1, BLOCK_SCORES // (n_heads * n_keys))
    for start in range(0, n_queries, step):
        stop = min(start + step, n_queries)
        first, last = n_keys - n_queries + start, n_keys - n_queries + stop
        low = 0 if rule.window is None else max(0, first - rule.window + 1)
        yield _Block(slice(start, stop), slice(low, last), first - low)


def _parts(
    block: _Block, q_THE: Tensor, k_LKE: Tensor, v_LKE: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries `[K, G, B, E]`, keys and values `[K, 1, L, E]` of a block."""
    q_KGBE = _by_group(q_THE[block.queries], k_LKE.shape[1])
    k, v = (_wide(t[block.keys]).transpose(0, 1).unsqueeze(1) for t in (k_LKE, v_LKE))
    return q_KGBE, k, v


def _by_group(t_BHE: Tensor, n_groups: int) -> Tensor:
    """`[K, G, B, E]`: the query heads of a key head see the same keys."""
    t_KGBE: Tensor = _wide(t_BHE).unflatten(1, (n_groups, -1)).permute(1, 2, 0, 3)
    return t_KGBE


def _tokens_first(t_KGBE: Tensor) -> Tensor:
    """`[B, H, E]`."""
    return t_KGBE.permute(2, 0, 1, 3).flatten(1, 2)


def _capped_scores(
    q_KGBE: Tensor, k_KLE: Tensor, block: _Block, rule: ScoreRule
) -> tuple[Tensor, Tensor]:
    """Masked scores `[K, G, B, L]`, and the tangents they are made of."""
    tangents = (q_KGBE @ k_KLE.transpose(-1, -2)).mul_(rule.scale / _cap(rule)).tanh_()
    places_B = torch.arange(q_KGBE.shape[2], device=tangents.device) + block.ahead
    keys_L = torch.arange(k_KLE.shape[2], device=tangents.device)
    behind_BL = places_B.unsqueeze(1) - keys_L
    is_seen_BL = behind_BL >= 0
    if rule.window is not None:
        is_seen_BL &= behind_BL < rule.window
    capped = tangents * _cap(rule)
    return capped.masked_fill_(~is_seen_BL, -torch.inf), tangents


class _Capped(torch.autograd.Function):
    """It saves what flash attention saves: its inputs, its result and one number per query."""

    @staticmethod
    def forward(
        ctx: Any,
        q_THE: Tensor,
        k_TKE: Tensor,
        v_TKE: Tensor,
        rows: tuple[Spans, ...],
        rule: ScoreRule,
    ) -> Tensor:
        out_THE = torch.empty_like(q_THE, memory_format=torch.contiguous_format)
        sums_TH = q_THE.new_empty(q_THE.shape[:2], dtype=_wide_dtype(q_THE))
        for row in rows:
            own = slice(*row[-1])
            q, k, v = q_THE[own], _joined(k_TKE, row), _joined(v_TKE, row)
            for block in _blocks(q.shape, k.shape[0], rule):
                q_KGBE, k_KLE, v_KLE = _parts(block, q, k, v)
                capped, _ = _capped_scores(q_KGBE, k_KLE, block, rule)
                sums_KGB = capped.logsumexp(-1, keepdim=True)
                weights = capped.sub_(sums_KGB).exp_()
                out_THE[own][block.queries] = _tokens_first(weights @ v_KLE)
                sums_TH[own][block.queries] = _tokens_first(sums_KGB).squeeze(-1)
        ctx.save_for_backward(q_THE, k_TKE, v_TKE, out_THE, sums_TH)
        ctx.rows, ctx.rule = rows, rule
        return out_THE

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        q_THE, k_TKE, v_TKE, out_THE, sums_TH = ctx.saved_tensors
        rule: ScoreRule = ctx.rule
        wide = _wide_dtype(q_THE)
        found = [torch.zeros_like(t, dtype=wide) for t in (q_THE, k_TKE, v_TKE)]
        dq_THE, dk_TKE, dv_TKE = found
        for row in ctx.rows:
            own = slice(*row[-1])
            q, k, v = q_THE[own], _joined(k_TKE, row), _joined(v_TKE, row)
            dk, dv = (torch.zeros_like(t, dtype=wide) for t in (k, v))
            for block in _blocks(q.shape, k.shape[0], rule):
                part = _parts(block, q, k, v)
                after = tuple(
                    _by_group(t[own][block.queries], k.shape[1])
                    for t in (grads[0], out_THE, sums_TH.unsqueeze(-1))
                )
                dq_KGBE, dk_KLE, dv_KLE = _block_gradients(part, after, block, rule)
                dq_THE[own][block.queries] = _tokens_first(dq_KGBE)
                dk[block.keys] += dk_KLE.transpose(0, 1)
                dv[block.keys] += dv_KLE.transpose(0, 1)
            _add_to(dk_TKE, dk, row)
            _add_to(dv_TKE, dv, row)
        dq, dk, dv = (t.to(q_THE.dtype) for t in found)
        return dq, dk, dv, None, None


def _block_gradients(
    part: tuple[Tensor, Tensor, Tensor],
    after: tuple[Tensor, ...],
    block: _Block,
    rule: ScoreRule,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries `[K, G, B, E]`, keys and values `[K, L, E]` of a block.

    `after` has the gradient of its result, the result, and the logarithms of its sums.
    """
    (q_KGBE, k_KLE, v_KLE), (g_KGBE, out_KGBE, sums_KGB) = part, after
    capped, tangents = _capped_scores(q_KGBE, k_KLE, block, rule)
    weights = capped.sub_(sums_KGB).exp_()
    dv_KLE = (weights.transpose(-1, -2) @ g_KGBE).sum(1)
    inner_KGB = (g_KGBE * out_KGBE).sum(-1, keepdim=True)
    d_capped = (g_KGBE @ v_KLE.transpose(-1, -2)).sub_(inner_KGB).mul_(weights)
    # The slope of the cap: d/dx of cap * tanh(x / cap) is 1 - tanh(x / cap)^2.
    d_products = d_capped.mul_(tangents.square_().neg_().add_(1)).mul_(rule.scale)
    return d_products @ k_KLE, (d_products.transpose(-1, -2) @ q_KGBE).sum(1), dv_KLE


def _joined(t_TKE: Tensor, row: Spans) -> Tensor:
    """The tokens of a row; a view where they are in one piece."""
    pieces = [t_TKE[start:end] for start, end in row]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _add_to(grad_TKE: Tensor, part: Tensor, row: Spans) -> None:
    sizes = [end - start for start, end in row]
    for (start, end), piece in zip(row, part.split(sizes), strict=True):
        grad_TKE[start:end] += piece


# torch leaves `apply` unannotated; the name gives it a type.
_capped: Callable[..., Tensor] = _Capped.apply
