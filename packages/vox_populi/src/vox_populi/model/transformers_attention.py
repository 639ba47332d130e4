"""Our attention over packed rows as a function that classes of transformers call.

Shape letters: T tokens, B queries of a block, L keys, H query heads, K key/value heads, G query
heads of each, X = G B, E head dim of queries and keys, F head dim of values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from vox_populi.hf.transformers_classes import load_transformers
from vox_tensor.capped_attention import BLOCK_SCORES
from vox_tensor.segment_attention import continued_attention, segment_attention, sliding_window_mask

ATTENTION = "vox_segments"
"""Name under which transformers knows the function."""
OWN_ATTENTION = "eager"
"""Name of the attention that every class has by itself, with a mask that it makes of positions."""

_offsets: ContextVar[tuple[int, ...]] = ContextVar("offsets")
"""Segment borders of the pass that is being computed, on the host."""


@contextmanager
def segments(offsets: tuple[int, ...]) -> Iterator[None]:
    """A block in which attention stays inside these segments."""
    token = _offsets.set(offsets)
    try:
        yield
    finally:
        _offsets.reset(token)


def current_segments() -> tuple[int, ...]:
    """The segment borders of the pass that is being computed."""
    return _offsets.get()


def register_attention() -> None:
    """Let transformers know the function. Without a mask function of that name it makes no mask."""
    load_transformers().AttentionInterface.register(ATTENTION, attend)


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention of `[1, H, T, E]` queries: `[1, T, H, F]`, as transformers' interface says.

    A model is in evaluation mode, so `dropout` is nothing. What the segments are is not read from
    the arguments, since not every class passes them on.

    Args:
        module: The layer that asks.
        query: Queries of the new tokens.
        key: Keys of all tokens.
        value: Values of all tokens.
        attention_mask: Must be none.
        options: `scaling`, `sliding_window`, `softcap` and `s_aux` matter.

    Raises:
        ValueError: For a mask, or several texts beside each other.
    """
    del module
    if attention_mask is not None or query.shape[0] != 1:
        message = "rows are packed into one, without a mask"
        raise ValueError(message)
    q_THE, k_LKE, v_LKF = (each[0].transpose(0, 1) for each in (query, key, value))
    scale = options.get("scaling")
    scale = q_THE.shape[2] ** -0.5 if scale is None else scale
    window, softcap, sinks_H = (options.get(n) for n in ("sliding_window", "softcap", "s_aux"))
    is_whole = q_THE.shape[0] == k_LKE.shape[0]
    if softcap is not None or sinks_H is not None or q_THE.shape[2] != v_LKF.shape[2]:
        scoring = _Scoring(scale, window, softcap, sinks_H)
        out = scoring.attend(q_THE, k_LKE, v_LKF, _offsets.get() if is_whole else None)
    elif is_whole:
        out = segment_attention(q_THE, k_LKE, v_LKF, _offsets.get(), scale=scale, window=window)
    else:
        out = continued_attention(q_THE, k_LKE, v_LKF, scale=scale, window=window)
    return out.unsqueeze(0).contiguous(), None


class _Scoring:
    """Attention with scores that torch's kernels do not make.

    They are written to memory, those of some queries at a time.

    Args:
        scale: Factor of the scores.
        window: Keys that a query sees.
        softcap: Bound of the scores (Gemma 2).
        sinks_H: A score of each head that takes a share and has no value (gpt-oss).
    """

    def __init__(
        self, scale: float, window: int | None, softcap: float | None, sinks_H: Tensor | None
    ) -> None:
        self._scale, self._window, self._softcap = scale, window, softcap
        self._sinks_H = sinks_H

    def attend(
        self, q_THE: Tensor, k_LKE: Tensor, v_LKF: Tensor, offsets: tuple[int, ...] | None
    ) -> Tensor:
        """`[T, H, F]`; without offsets the queries are those of the last keys."""
        if offsets is None:
            return self._segment(q_THE, k_LKE, v_LKF)
        sizes = [b - a for a, b in pairwise(offsets)]
        pieces = zip(*(t.split(sizes) for t in (q_THE, k_LKE, v_LKF)), strict=True)
        return torch.cat([self._segment(*piece) for piece in pieces])

    def _segment(self, q_THE: Tensor, k_LKE: Tensor, v_LKF: Tensor) -> Tensor:
        """Queries of the last keys, some of them at a time."""
        n_new, n_keys = q_THE.shape[0], k_LKE.shape[0]
        n_together = max(1, BLOCK_SCORES // (q_THE.shape[1] * n_keys))
        parts, end = [], n_keys - n_new
        for q_BHE in q_THE.split(n_together):
            end += q_BHE.shape[0]
            parts.append(_scored(self, q_BHE, k_LKE[:end], v_LKF[:end]))
        return torch.cat(parts)

    def block(self, q_BHE: Tensor, k_LKE: Tensor, v_LKF: Tensor) -> Tensor:
        """`[B, H, F]`, with every score of these queries in memory."""
        (n_new, n_heads, dim), (n_keys, n_groups) = q_BHE.shape, k_LKE.shape[:2]
        # The query heads of a key head see the same keys: they go in as its queries.
        q_BKGE = q_BHE.reshape(n_new, n_groups, -1, dim)
        q_KXE = q_BKGE.permute(1, 2, 0, 3).reshape(n_groups, -1, dim)
        scores_KXL = (q_KXE @ k_LKE.permute(1, 2, 0)) * self._scale
        scores_HBL = scores_KXL.view(n_heads, n_new, n_keys)
        if self._softcap is not None:
            scores_HBL = self._softcap * torch.tanh(scores_HBL / self._softcap)
        mask_BL = sliding_window_mask(n_new, n_keys, self._window or n_keys, q_BHE.device)
        scores_HBL = scores_HBL.masked_fill(~mask_BL, float("-inf"))
        if self._sinks_H is not None:
            sinks_HB1 = self._sinks_H.to(scores_HBL.dtype).view(-1, 1, 1).expand(-1, n_new, 1)
            scores_HBL = torch.cat((scores_HBL, sinks_HB1), dim=2)
        shares_HBL = torch.softmax(scores_HBL, dim=2, dtype=torch.float32).to(q_BHE.dtype)
        shares_KXL = shares_HBL[..., :n_keys].reshape(n_groups, -1, n_keys)
        out_HBF = (shares_KXL @ v_LKF.transpose(0, 1)).view(n_heads, n_new, -1)
        return out_HBF.transpose(0, 1)


class _Scored(torch.autograd.Function):
    """`_Scoring.block`, whose backward pass computes the scores again instead of keeping them."""

    @staticmethod
    def forward(ctx: Any, scoring: _Scoring, *parts: Tensor) -> Tensor:
        ctx.scoring = scoring
        ctx.save_for_backward(*parts)
        return scoring.block(*parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        parts = [part.detach().requires_grad_() for part in ctx.saved_tensors]
        with torch.enable_grad():
            out = ctx.scoring.block(*parts)
        return None, *torch.autograd.grad(out, parts, grads)


# torch leaves `apply` unannotated.
_scored: Callable[..., Tensor] = _Scored.apply
