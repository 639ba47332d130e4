"""Attention over rows that share what they begin with, against each row alone in float64."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from vox_tensor import prefix_attention as module
from vox_tensor.flash_forest import Branch, flash_forest
from vox_tensor.prefix_attention import prefix_attention, sdpa_forest

Attention = Callable[..., torch.Tensor]

# A root of 4 tokens; below it one of 3, with two leaves, and a leaf; then a row on its own.
#     0..4 -> 4..7 -> 7..9
#                  -> 9..10
#          -> 10..15
#     15..18
OFFSETS = (0, 4, 7, 9, 10, 15, 18)
BRANCHES = (Branch(0, 4, 15), Branch(4, 7, 10))
ROWS = {7: (0, 7, 2), 9: (0, 7, 1), 10: (0, 4, 5), 15: (15, 15, 3)}
"""Of each leaf by its first token: where its prefix starts and ends, and its length."""
N_TOKENS, LONGEST = 18, 9


def tensors(
    heads: int, kv_heads: int, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(heads)
    q, k, v = (
        torch.randn(N_TOKENS, n, 4, dtype=torch.float64, generator=generator).to(dtype)
        for n in (heads, kv_heads, kv_heads)
    )
    return q, k, v


def paths() -> list[list[int]]:
    """The tokens of each row."""
    return [
        [*range(start, end), *range(leaf, leaf + length)]
        for leaf, (start, end, length) in ROWS.items()
    ]


def dense(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int | None) -> torch.Tensor:
    """One score at a time, straight from the definition."""
    out = torch.zeros_like(q)
    groups = q.shape[1] // k.shape[1]
    done: set[int] = set()
    for path in paths():
        for place, token in enumerate(path):
            if token in done:
                continue
            done.add(token)
            first = 0 if window is None else max(0, place - window + 1)
            seen = path[first : place + 1]
            seen_k, seen_v = (t[seen].repeat_interleave(groups, dim=1) for t in (k, v))
            weights_LH = ((seen_k * q[token]).sum(-1) * 0.5).softmax(0)
            out[token] = (weights_LH.unsqueeze(-1) * seen_v).sum(0)
    assert done == set(range(N_TOKENS))
    return out


def on_a_cpu(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int | None) -> torch.Tensor:
    return prefix_attention(q, k, v, OFFSETS, BRANCHES, scale=0.5, window=window)


def on_other_devices(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int | None
) -> torch.Tensor:
    spans = module.row_spans(OFFSETS, BRANCHES)
    return sdpa_forest(q, k, v, spans, 0.5, window)


@pytest.mark.parametrize("attention", [on_a_cpu, on_other_devices])
@pytest.mark.parametrize(("heads", "kv_heads"), [(2, 2), (4, 2), (4, 1)])
@pytest.mark.parametrize("window", [None, 1, 3, LONGEST])
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


def test_merging_costs_a_few_roundings() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        q, k, v = (t.to(dtype) for t in tensors(4, 2))
        out = on_a_cpu(q, k, v, None)
        exact = dense(q.double(), k.double(), v.double(), None)
        assert out.dtype == dtype
        # A result and each of two merges are rounded, and so are the weights inside the kernel.
        bound = 8 * torch.finfo(dtype).eps
        torch.testing.assert_close(out.double(), exact, rtol=bound, atol=bound)


def test_a_row_never_sees_one_that_went_another_way() -> None:
    q, k, v = tensors(2, 2)
    before = on_a_cpu(q, k, v, None)
    k2, v2 = k.clone(), v.clone()
    k2[7], v2[7] = 100.0, -100.0
    after = on_a_cpu(q, k2, v2, None)
    changed = [t for t in range(N_TOKENS) if not torch.equal(before[t], after[t])]
    assert changed == [7, 8]


def test_what_is_shared_gets_the_gradients_of_all_below_it() -> None:
    for first, end in pairwise((4, 7, 9, 10, 15)):
        q, k, v = (t.requires_grad_() for t in tensors(2, 2))
        on_a_cpu(q, k, v, None)[first:end].sum().backward()
        assert v.grad is not None
        seen = [t for t in range(N_TOKENS) if v.grad[t].abs().sum() > 0]
        (path,) = {tuple(p[: p.index(end - 1) + 1]) for p in paths() if end - 1 in p}
        assert tuple(seen) == path


def test_the_flash_kernel_is_used_on_a_cpu_without_a_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = []
    for name, way in (("flash_forest", flash_forest), ("sdpa_forest", sdpa_forest)):

        def noted(*args: object, name: str = name, way: Attention = way) -> torch.Tensor:
            taken.append(name)
            return way(*args)

        monkeypatch.setattr(module, name, noted)
    q, k, v = tensors(4, 2)
    for window in (None, LONGEST, LONGEST - 1):
        on_a_cpu(q, k, v, window)
    assert taken == ["flash_forest", "flash_forest", "sdpa_forest"]
