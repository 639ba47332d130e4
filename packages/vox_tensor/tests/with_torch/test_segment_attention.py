"""Packed attention against a dense float64 computation of each row alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from vox_tensor import segment_attention as module
from vox_tensor.flash_forest import flash_forest
from vox_tensor.segment_attention import (
    continued_attention,
    sdpa_segments,
    segment_attention,
)

Attention = Callable[..., torch.Tensor]

OFFSETS = (0, 5, 6, 14)


def tensors(heads: int, kv_heads: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(heads)
    q, k, v = (
        torch.randn(14, n, 4, dtype=torch.float64, generator=generator)
        for n in (heads, kv_heads, kv_heads)
    )
    return q, k, v


def dense(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int | None) -> torch.Tensor:
    """One score at a time, straight from the definition."""
    out = torch.zeros_like(q)
    groups = q.shape[1] // k.shape[1]
    for start, end in pairwise(OFFSETS):
        for i in range(start, end):
            first = start if window is None else max(start, i - window + 1)
            for h in range(q.shape[1]):
                scores = (k[first : i + 1, h // groups] @ q[i, h]) * 0.5
                out[i, h] = scores.softmax(0) @ v[first : i + 1, h // groups]
    return out


def on_a_cpu(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int | None) -> torch.Tensor:
    return segment_attention(q, k, v, OFFSETS, scale=0.5, window=window)


def on_other_devices(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int | None
) -> torch.Tensor:
    return sdpa_segments(q, k, v, OFFSETS, 0.5, window)


@pytest.mark.parametrize("attention", [on_a_cpu, on_other_devices])
@pytest.mark.parametrize(("heads", "kv_heads"), [(2, 2), (4, 2), (4, 1)])
@pytest.mark.parametrize("window", [None, 1, 3, 8])
def test_attention_matches_its_definition(
    attention: Attention, heads: int, kv_heads: int, window: int | None
) -> None:
    ours, oracle = (tensors(heads, kv_heads) for _ in ("ours", "the oracle's"))
    for tensor in (*ours, *oracle):
        tensor.requires_grad_()
    out, expected = attention(*ours, window), dense(*oracle, window)
    torch.testing.assert_close(out, expected)
    # Each value weighs differently, so that a gradient in the wrong place shows.
    weights = torch.arange(out.numel(), dtype=out.dtype).view(out.shape)
    (out * weights).sum().backward()
    (expected * weights).sum().backward()
    for actual, wanted in zip(ours, oracle, strict=True):
        assert actual.grad is not None
        # With a window of one token a softmax has one term: q and k have no say.
        assert window == 1 or bool(actual.grad.abs().sum() > 0)
        torch.testing.assert_close(actual.grad, wanted.grad)


def test_the_flash_kernel_is_used_on_a_cpu_without_a_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = []
    for name, way in (("flash_forest", flash_forest), ("sdpa_segments", sdpa_segments)):

        def noted(*args: object, name: str = name, way: Attention = way) -> torch.Tensor:
            taken.append(name)
            return way(*args)

        monkeypatch.setattr(module, name, noted)
    q, k, v = tensors(4, 2)
    for window in (None, 8, 7):
        segment_attention(q, k, v, OFFSETS, scale=0.5, window=window)
    q, k, v = (t.to("meta") for t in (q, k, v))
    segment_attention(q, k, v, OFFSETS, scale=0.5)
    assert taken == ["flash_forest", "flash_forest", "sdpa_segments", "sdpa_segments"]


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("window", [None, 1, 3, 8])
@pytest.mark.parametrize("n_new", [1, 2, 7])
def test_a_continuation_is_the_end_of_the_whole(
    kv_heads: int, window: int | None, n_new: int
) -> None:
    q, k, v = tensors(4, kv_heads)
    whole = segment_attention(q, k, v, (0, 14), scale=0.5, window=window)
    out = continued_attention(q[-n_new:], k, v, scale=0.5, window=window)
    torch.testing.assert_close(out, whole[-n_new:])
    assert not torch.equal(whole[-1], whole[-2])


def test_a_row_never_sees_another() -> None:
    q, k, v = tensors(2, 2)
    before = segment_attention(q, k, v, OFFSETS, scale=0.5)
    k2, v2 = k.clone(), v.clone()
    k2[5], v2[5] = 100.0, -100.0
    after = segment_attention(q, k2, v2, OFFSETS, scale=0.5)
    assert not torch.equal(before[5], after[5])
    assert torch.equal(before[:5], after[:5])
    assert torch.equal(before[6:], after[6:])


def test_gradients_stay_inside_a_segment() -> None:
    q, k, v = (t.requires_grad_() for t in tensors(2, 2))
    segment_attention(q, k, v, OFFSETS, scale=0.5)[6:].sum().backward()
    assert v.grad is not None
    assert v.grad[:6].abs().sum() == 0
    assert v.grad[6:].abs().sum() > 0


@pytest.mark.parametrize("attention", [on_a_cpu, on_other_devices])
@pytest.mark.parametrize("window", [None, 3])
def test_gradients_pass_gradcheck(attention: Attention, window: int | None) -> None:
    q, k, v = (t.requires_grad_() for t in tensors(4, 2))
    assert torch.autograd.gradcheck(lambda *inputs: attention(*inputs, window), (q, k, v))
