"""The kernel for CUDA is called rightly: a stand-in behind torch's own dispatcher, on a CPU.

The stand-in has the operator's schema and is differentiated by torch's formula for the operator, so
what is tested is everything but the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from vox_tensor import segment_attention as module
from vox_tensor import varlen_attention
from vox_tensor.segment_attention import for_masks, segment_attention
from vox_tensor.varlen_attention import (
    segment_borders,
    trial_of_varlen,
    varlen_segments,
    why_no_varlen,
)

OFFSETS = (0, 5, 6, 14)
CPU = torch.device("cpu")


class FlashStandIn:
    """`aten::_flash_attention_forward` and its backward, by definition."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.sees_window = True
        self.error: str | None = None

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        cum_q: Tensor,
        cum_k: Tensor,
        max_q: int,
        max_k: int,
        dropout: float,
        is_causal: bool,
        return_debug_mask: bool,
        *,
        scale: float | None = None,
        window_size_left: int | None = None,
        window_size_right: int | None = None,
        **others: Any,
    ) -> tuple[Tensor, ...]:
        if self.error is not None:
            raise RuntimeError(self.error)
        assert all(value is None for value in others.values())
        assert (cum_q.dtype, dropout, return_debug_mask) == (torch.int32, 0.0, False)
        assert cum_q is cum_k
        borders = cum_q.tolist()
        assert max_q == max_k == max(b - a for a, b in pairwise(borders))
        # A causal call has no window, and one with a window is not called causal.
        assert is_causal == (window_size_left == -1)
        self.calls.append((window_size_left, window_size_right))
        out = torch.empty_like(q)
        for a, b, p in self.shares(q, k, borders, scale, window_size_left):
            out[a:b] = torch.einsum("hij,jhe->ihe", p, wide(v, q)[a:b]).to(q.dtype)
        sums = torch.zeros(q.shape[1], q.shape[0])
        return out, sums, torch.zeros(2, dtype=torch.uint64), torch.empty(0), torch.empty(0)

    def backward(
        self, g: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, sums: Tensor, cum_q: Tensor,
        *rest: Any, scale: float, window_size_left: int, window_size_right: int,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        assert (len(rest), window_size_right) == (7, 0)
        dq, dk, dv = (torch.zeros(q.shape) for _ in range(3))
        for a, b, p in self.shares(q, k, cum_q.tolist(), scale, window_size_left):
            part = g[a:b].float()
            dv[a:b] = torch.einsum("hij,ihe->jhe", p, part)
            dp = torch.einsum("ihe,jhe->hij", part, wide(v, q)[a:b])
            ds = p * (dp - (dp * p).sum(-1, keepdim=True)) * scale
            dq[a:b] = torch.einsum("hij,jhe->ihe", ds, wide(k, q)[a:b])
            dk[a:b] = torch.einsum("hij,ihe->jhe", ds, q[a:b].float())
        groups = (k.shape[1], -1)
        narrow = (t.unflatten(1, groups).sum(2).to(q.dtype) for t in (dk, dv))
        return (dq.to(q.dtype), *narrow)

    def shares(
        self, q: Tensor, k: Tensor, borders: Sequence[int], scale: float | None, left: int | None
    ) -> Iterator[tuple[int, int, Tensor]]:
        """Each segment with its softmax, `[H, L, L]`."""
        assert scale is not None
        assert left is not None
        for a, b in pairwise(borders):
            scores = torch.einsum("ihe,jhe->hij", q[a:b].float(), wide(k, q)[a:b]) * scale
            i = torch.arange(b - a)
            behind = i.unsqueeze(1) - i
            hidden = behind < 0
            if left >= 0 and self.sees_window:
                hidden |= behind > left
            yield a, b, scores.masked_fill(hidden, -torch.inf).softmax(-1)


def wide(t: Tensor, q: Tensor) -> Tensor:
    """A copy of keys or values for each query head, in float32."""
    return t.float().repeat_interleave(q.shape[1] // t.shape[1], dim=1)


@pytest.fixture
def flash() -> Iterator[FlashStandIn]:
    stand_in = FlashStandIn()
    with torch.library._scoped_library("aten", "IMPL") as library:
        library.impl("_flash_attention_forward", stand_in.forward, "CPU")
        library.impl("_flash_attention_backward", stand_in.backward, "CPU")
        yield stand_in


def tensors(heads: int, kv_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(heads)
    q, k, v = (
        torch.randn(14, n, 8, generator=generator).requires_grad_()
        for n in (heads, kv_heads, kv_heads)
    )
    return q, k, v


@pytest.mark.parametrize(("heads", "kv_heads"), [(2, 2), (4, 2), (4, 1)])
@pytest.mark.parametrize("window", [None, 1, 3, 8, 9])
def test_values_and_gradients_are_those_of_the_cpu_path(
    flash: FlashStandIn, heads: int, kv_heads: int, window: int | None
) -> None:
    ours, expected = tensors(heads, kv_heads), tensors(heads, kv_heads)
    out = varlen_segments(*ours, OFFSETS, 0.5, window)
    wanted = segment_attention(*expected, OFFSETS, scale=0.5, window=window)
    torch.testing.assert_close(out, wanted)
    weights = torch.arange(out.numel(), dtype=out.dtype).view(out.shape) / out.numel()
    (out * weights).sum().backward()
    (wanted * weights).sum().backward()
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    # The longest segment has 8 tokens: a window of 8 hides none of them.
    assert flash.calls == [(-1 if window is None or window >= 8 else window - 1, 0)]


def test_borders_are_made_once_for_all_layers_and_can_be_saved_for_a_backward_pass() -> None:
    with torch.inference_mode():
        first = segment_borders((0, 3, 7), CPU)
    assert segment_borders((0, 3, 7), CPU) is first
    assert not first.is_inference()
    assert first.tolist() == [0, 3, 7]


def test_segments_go_through_the_kernel_where_nothing_speaks_against_it(
    flash: FlashStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "why_no_varlen", lambda *kind: None)
    segment_attention(*tensors(4, 2), OFFSETS, scale=0.5, window=3)
    assert flash.calls == [(2, 0)]
    monkeypatch.setattr(module, "why_no_varlen", lambda *kind: "a reason")
    segment_attention(*tensors(4, 2), OFFSETS, scale=0.5, window=3)
    assert flash.calls == [(2, 0)]


@pytest.mark.parametrize(
    ("dim", "dtype", "capability", "reason"),
    [
        (64, torch.bfloat16, (8, 0), None),
        (256, torch.float16, (9, 0), None),
        (64, torch.float32, (9, 0), "float32"),
        (264, torch.bfloat16, (9, 0), "heads of 264"),
        (36, torch.bfloat16, (9, 0), "heads of 36"),
        (64, torch.bfloat16, (7, 5), "too old"),
        (128, torch.bfloat16, (9, 0), "of the trial"),
    ],
)
def test_what_speaks_against_the_kernel_is_said(
    monkeypatch: pytest.MonkeyPatch,
    dim: int,
    dtype: torch.dtype,
    capability: tuple[int, int],
    reason: str | None,
) -> None:
    why_no_varlen.cache_clear()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    tried: list[tuple[Any, ...]] = []

    def trial(*kind: Any) -> str | None:
        tried.append(kind)
        return "a failure of the trial" if dim == 128 else None

    monkeypatch.setattr(varlen_attention, "trial_of_varlen", trial)
    kind = (torch.device("cuda", 0), dtype, dim, 4)
    said = [why_no_varlen(*kind) for _ in range(2)]
    why_no_varlen.cache_clear()
    assert said[0] == said[1]
    assert said[0] is None if reason is None else reason in str(said[0])
    is_tried = reason in (None, "of the trial")
    assert tried == ([kind] if is_tried else [])
    assert why_no_varlen(CPU, dtype, dim, 4) is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("n_sharing", [1, 7])
def test_a_right_kernel_passes_the_trial_and_a_wrong_one_does_not(
    flash: FlashStandIn, dtype: torch.dtype, n_sharing: int
) -> None:
    asked: list[Tensor] = []
    with saved_tensors_hooks(asked.append, lambda _: torch.zeros(())):
        assert trial_of_varlen(CPU, dtype, 64, n_sharing) is None
    assert asked == [], "the hooks of the pass that asks are not those of the trial"
    flash.sees_window = False
    assert "differ" in str(trial_of_varlen(CPU, dtype, 64, n_sharing))
    flash.error = "FlashAttention only supports Ampere GPUs\nor newer"
    said = str(trial_of_varlen(CPU, dtype, 64, n_sharing))
    assert said == "RuntimeError: FlashAttention only supports Ampere GPUs"


def test_keys_are_copied_for_each_query_head_only_on_cuda() -> None:
    keys = torch.randn(1, 2, 5, 8)
    assert for_masks(keys, 4) is keys

    class Cuda(torch.Tensor):
        device = torch.device("cuda")

    there = keys.as_subclass(Cuda)
    assert torch.equal(for_masks(there, 4), keys.repeat_interleave(2, dim=1))
    assert for_masks(there, 2) is there


@pytest.mark.gpu
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(4, 4, 64), (14, 2, 64), (32, 8, 128)])
def test_on_cuda_the_kernel_gives_what_segments_give_one_by_one(
    heads: int, kv_heads: int, dim: int, window: int | None
) -> None:
    place = torch.device("cuda")
    assert why_no_varlen(place, torch.bfloat16, dim, heads // kv_heads) is None
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(14, n, dim, generator=generator) for n in (heads, kv_heads, kv_heads)]
    wide_ones = [t.bfloat16().float().to(place).requires_grad_() for t in drawn]
    narrow = [t.bfloat16().to(place).requires_grad_() for t in drawn]
    scale = dim**-0.5
    outs = []
    for q, k, v in (wide_ones, narrow):
        outs.append(segment_attention(q, k, v, OFFSETS, scale=scale, window=window))
    wanted, out = outs
    wanted.sum().backward()
    out.sum().backward()
    pairs = [(out, wanted), *((a.grad, b.grad) for a, b in zip(narrow, wide_ones, strict=True))]
    for found, expected in pairs:
        assert found is not None
        assert expected is not None
        torch.testing.assert_close(found.float(), expected, rtol=0.03, atol=0.03)
    assert segment_borders(OFFSETS, place).is_cuda
