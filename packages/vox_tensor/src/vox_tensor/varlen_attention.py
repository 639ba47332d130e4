"""Attention over all segments of a pack in one launch: torch's flash kernel for CUDA.

It is called as an operator. `torch.nn.attention.varlen` calls the same one, but importing it
imports torch's compiler, for seconds, and its arguments change between versions.

Shape letters: T tokens, H query heads, K key/value heads, E head dim, S segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import pairwise

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from vox_tensor.host_copy import copied_to

_flash = torch.ops.aten._flash_attention_forward

_DTYPES = (torch.bfloat16, torch.float16)
_LARGEST_DIM, _DIM_STEP = 256, 8
_FIRST_CAPABILITY = (8, 0)
_ALLOWED = 0.03
"""Largest difference from the definition in a trial, over one plus the value: bf16 rounds by 0.004
and each number has several roundings behind it."""


def varlen_segments(
    q_THE: Tensor,
    k_TKE: Tensor,
    v_TKE: Tensor,
    offsets: Sequence[int],
    scale: float,
    window: int | None,
) -> Tensor:
    """`segment_attention` where `why_no_varlen` has no objection."""
    borders_S = segment_borders(tuple(offsets), q_THE.device)
    longest = max(b - a for a, b in pairwise(offsets))
    is_windowed = window is not None and window < longest
    # The kernel counts the keys to the left of a query, without the query's own.
    left = window - 1 if window is not None and is_windowed else -1
    out: Tensor = _flash(
        q_THE,
        k_TKE,
        v_TKE,
        borders_S,
        borders_S,
        longest,
        longest,
        0.0,
        not is_windowed,
        False,
        scale=scale,
        window_size_left=left,
        window_size_right=0,
    )[0]
    return out


@lru_cache(maxsize=16)
def segment_borders(offsets: tuple[int, ...], device: torch.device) -> Tensor:
    """The borders as int32 `[S + 1]` on a device, made once for all layers of a pack."""
    # An inference tensor, as evaluating makes them, could not be saved for a backward pass.
    with torch.inference_mode(mode=False):
        return copied_to(torch.tensor(offsets, dtype=torch.int32), device)


@cache
def why_no_varlen(
    device: torch.device, dtype: torch.dtype, head_dim: int, n_sharing: int
) -> str | None:
    """Why a kind of tensors cannot go through `varlen_segments`; `None` if they can.

    The first call for a kind on CUDA tries the kernel out.

    Args:
        device: Where they are.
        dtype: Their dtype.
        head_dim: Features of a head.
        n_sharing: Query heads that share a key/value head.
    """
    if device.type != "cuda":
        return "it is made for CUDA"
    if dtype not in _DTYPES:
        return f"it has no kernel for {str(dtype).removeprefix('torch.')}"
    if head_dim > _LARGEST_DIM or head_dim % _DIM_STEP:
        return f"it has no kernel for heads of {head_dim}"
    if torch.cuda.get_device_capability(device) < _FIRST_CAPABILITY:
        return "this GPU is too old for it"
    return trial_of_varlen(device, dtype, head_dim, n_sharing)


def trial_of_varlen(
    device: torch.device, dtype: torch.dtype, dim: int, n_sharing: int
) -> str | None:
    """What is wrong with the kernel's values and gradients on a small pack; `None` if nothing."""
    offsets = (0, 5, 6, 40)
    for window in (None, 7):
        try:
            found = _values(varlen_segments, device, dtype, (offsets, window, dim, n_sharing))
        except RuntimeError as error:
            return f"{type(error).__name__}: {str(error).splitlines()[0]}"
        expected = _values(
            _definition, torch.device("cpu"), torch.float32, (offsets, window, dim, n_sharing)
        )
        pairs = zip(found, expected, strict=True)
        apart = [float(((a.float().cpu() - b).abs() / (1 + b.abs())).max()) for a, b in pairs]
        if not all(each <= _ALLOWED for each in apart):  # NaN is not allowed either.
            return "its numbers in a trial differ from the definition"
    return None


_Case = tuple[tuple[int, ...], int | None, int, int]


def _values(
    attend: object, device: torch.device, dtype: torch.dtype, case: _Case
) -> tuple[Tensor, ...]:
    """Output and gradients of q, k, v, for values that bf16 holds exactly enough."""
    assert callable(attend)
    offsets, window, dim, n_sharing = case
    generator = torch.Generator().manual_seed(0)
    shapes = ((2 * n_sharing, dim), (2, dim), (2, dim))
    drawn = [torch.randn(offsets[-1], *each, generator=generator) for each in shapes]
    leaves = [t.to(torch.bfloat16).to(device, dtype).requires_grad_() for t in drawn]
    # The first call may be inside a block whose activations are computed again.
    kept = saved_tensors_hooks(lambda saved: saved, lambda kept: kept)
    with torch.enable_grad(), torch.inference_mode(mode=False), kept:
        out = attend(*leaves, offsets, dim**-0.5, window)
        grads = torch.autograd.grad(out, leaves, torch.ones_like(out))
    return (out.detach(), *grads)


def _definition(
    q_THE: Tensor,
    k_TKE: Tensor,
    v_TKE: Tensor,
    offsets: Sequence[int],
    scale: float,
    window: int | None,
) -> Tensor:
    """Every score of the pack, with those between rows masked out."""
    segment_T = torch.repeat_interleave(torch.tensor([b - a for a, b in pairwise(offsets)]))
    i = torch.arange(offsets[-1])
    behind = i.unsqueeze(1) - i.unsqueeze(0)
    mask = (segment_T.unsqueeze(1) == segment_T.unsqueeze(0)) & (behind >= 0)
    if window is not None:
        mask &= behind < window
    q, k, v = (t.transpose(0, 1) for t in (q_THE, k_TKE, v_TKE))
    shared = q.shape[0] // k.shape[0]
    k, v = k.repeat_interleave(shared, dim=0), v.repeat_interleave(shared, dim=0)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale).transpose(0, 1)
