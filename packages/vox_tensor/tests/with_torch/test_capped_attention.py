"""Attention with a soft cap against every score of the pack in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vox_tensor import capped_attention
from vox_tensor.capped_attention import capped_continuation, capped_segments, capped_slots
from vox_tensor.score_rule import ScoreRule

ROWS = (((0, 4),), ((0, 4), (4, 6)), ((0, 4), (6, 11)), ((11, 14),))
"""Two rows that begin with the same four tokens, and one of its own."""
N_TOKENS = 14
RULES = [ScoreRule(0.5, None, 1.5), ScoreRule(0.5, 3, 1.5)]


@pytest.fixture(params=[2**22, 24], ids=["at once", "in blocks"])
def block_scores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capped_attention, "BLOCK_SCORES", request.param)


def drawn(n_tokens: int = N_TOKENS) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    q_THE, k_TKE, v_TKE = (
        torch.randn(n_tokens, heads, 3, generator=generator, dtype=torch.float64) * 2
        for heads in (4, 2, 2)
    )
    return q_THE, k_TKE, v_TKE


def one_row(q_THE: Tensor, k_LKE: Tensor, v_LKE: Tensor, rule: ScoreRule) -> Tensor:
    """The definition, with all scores: queries are those of the last tokens."""
    n_keys, n_new = k_LKE.shape[0], q_THE.shape[0]
    k, v = (t.repeat_interleave(q_THE.shape[1] // t.shape[1], dim=1) for t in (k_LKE, v_LKE))
    assert rule.cap is not None
    scores = rule.cap * torch.tanh(torch.einsum("the,lhe->htl", q_THE, k) * rule.scale / rule.cap)
    behind = torch.arange(n_keys - n_new, n_keys).unsqueeze(1) - torch.arange(n_keys)
    is_seen = (behind >= 0) & (behind < (rule.window or n_keys))
    weights = scores.masked_fill(~is_seen, -torch.inf).softmax(-1)
    return torch.einsum("htl,lhe->the", weights, v)


def all_rows(q_THE: Tensor, k_TKE: Tensor, v_TKE: Tensor, rule: ScoreRule) -> Tensor:
    parts = []
    for row in ROWS:
        k, v = (torch.cat([t[a:b] for a, b in row]) for t in (k_TKE, v_TKE))
        parts.append(one_row(q_THE[slice(*row[-1])], k, v, rule))
    return torch.cat(parts)


def ours(q_THE: Tensor, k_TKE: Tensor, v_TKE: Tensor, rule: ScoreRule) -> Tensor:
    return capped_segments(q_THE, k_TKE, v_TKE, ROWS, rule)


def gradients(attend: Callable[..., Tensor], rule: ScoreRule) -> list[Tensor]:
    leaves = [t.requires_grad_() for t in drawn()]
    out = attend(*leaves, rule)
    weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return [out.detach(), *torch.autograd.grad(out, leaves, weight)]


@pytest.mark.usefixtures("block_scores")
@pytest.mark.parametrize("rule", RULES, ids=["whole", "window"])
def test_values_and_gradients_are_those_of_the_definition(rule: ScoreRule) -> None:
    for found, expected in zip(gradients(ours, rule), gradients(all_rows, rule), strict=True):
        torch.testing.assert_close(found, expected)
    uncapped = all_rows(*drawn(), rule._replace(cap=1e9))
    assert not torch.allclose(uncapped, all_rows(*drawn(), rule)), "the cap must matter"


@pytest.mark.usefixtures("block_scores")
@pytest.mark.parametrize("rule", RULES, ids=["whole", "window"])
@pytest.mark.parametrize("n_new", [1, 5])
def test_a_continuation_is_the_end_of_the_whole(rule: ScoreRule, n_new: int) -> None:
    q, k, v = drawn()
    found = capped_continuation(q[-n_new:], k, v, rule)
    torch.testing.assert_close(found, one_row(q, k, v, rule)[-n_new:])


def test_each_text_of_the_slots_is_the_text_alone() -> None:
    rule, lengths = ScoreRule(0.5, None, 1.5), (14, 6)
    q, k, v = drawn()
    mask = torch.arange(N_TOKENS) < torch.tensor(lengths).unsqueeze(1)
    queries = torch.stack([q[n - 1] for n in lengths])
    found = capped_slots(queries, k.expand(2, -1, -1, -1), v.expand(2, -1, -1, -1), mask, rule)
    for text, n in zip(found, lengths, strict=True):
        torch.testing.assert_close(text, one_row(q[n - 1 : n], k[:n], v[:n], rule)[0])


def test_arithmetic_of_half_precision_is_in_float32() -> None:
    rule = RULES[0]
    halves = [t.bfloat16().requires_grad_() for t in drawn()]
    wide = [t.detach().float().requires_grad_() for t in halves]
    found, expected = (ours(q_THE, k_TKE, v_TKE, rule) for q_THE, k_TKE, v_TKE in (halves, wide))
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected.bfloat16())
    found.sum().backward()
    assert all(t.grad is not None and t.grad.dtype == torch.bfloat16 for t in halves)
