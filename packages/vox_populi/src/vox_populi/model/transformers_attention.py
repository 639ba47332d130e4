"""Our attention over packed rows as a function that classes of transformers call.

Shape letters: T tokens, L keys, H query heads, K key/value heads, E head dim of queries and keys,
F head dim of values.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from vox_populi.hf.transformers_classes import load_transformers
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
    """Attention with scores that torch's kernels do not make; they are written to memory.

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
        n_new, n_heads, n_keys = q_THE.shape[0], q_THE.shape[1], k_LKE.shape[0]
        n_sharing = n_heads // k_LKE.shape[1]
        k_HLE = k_LKE.transpose(0, 1).repeat_interleave(n_sharing, dim=0)
        v_HLF = v_LKF.transpose(0, 1).repeat_interleave(n_sharing, dim=0)
        scores_HTL = (q_THE.transpose(0, 1) @ k_HLE.transpose(1, 2)) * self._scale
        if self._softcap is not None:
            scores_HTL = self._softcap * torch.tanh(scores_HTL / self._softcap)
        mask_TL = sliding_window_mask(n_new, n_keys, self._window or n_keys, q_THE.device)
        scores_HTL = scores_HTL.masked_fill(~mask_TL, float("-inf"))
        if self._sinks_H is not None:
            sinks_HT1 = self._sinks_H.to(scores_HTL.dtype).view(-1, 1, 1).expand(-1, n_new, 1)
            scores_HTL = torch.cat((scores_HTL, sinks_HT1), dim=2)
        shares_HTL = torch.softmax(scores_HTL, dim=2, dtype=torch.float32).to(q_THE.dtype)
        return (shares_HTL[..., :n_keys] @ v_HLF).transpose(0, 1)
