"""Experts with any activation: against autograd over each slot by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs vox-tensor[gpu]")

import torch
from torch import Tensor
from torch.nn import functional as F

from vox_tensor.expert_activation import AnyActivation
from vox_tensor.expert_mlp import ExpertProjections, Routing, expert_mlp
from vox_tensor.lora import Projection

TOKENS, EXPERTS, PER_TOKEN, WIDTH, INNER, RANK = 9, 4, 2, 6, 5, 2


def drawn(*shape: int, grad: bool = True) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).requires_grad_(grad)


def projection(out: int, into: int, *, bias: bool) -> Projection:
    weight = drawn(out, into, grad=False)
    own = drawn(out, grad=False) if bias else None
    return Projection(weight, own, drawn(RANK, into), drawn(out, RANK), 0.7)


def turns(made: Tensor) -> Tensor:
    """Gate and up take turns, with a bound."""
    return torch.sigmoid(made[..., ::2].clamp(max=1.0)) * (made[..., 1::2] + 1)


def halves(made: Tensor) -> Tensor:
    gate, up = made.chunk(2, dim=-1)
    return torch.tanh(gate) * up


def product(p: Projection, x: Tensor) -> Tensor:
    assert isinstance(p.weight, Tensor)
    assert p.a is not None
    assert p.b is not None
    return F.linear(x, p.weight + p.scale * p.b @ p.a, p.bias)


@pytest.mark.parametrize("is_split", [False, True])
def test_result_and_every_gradient_are_those_of_the_slots_by_themselves(is_split: bool) -> None:
    torch.manual_seed(3)
    sizes = (INNER, INNER) if is_split else (2 * INNER,)
    gate = halves if is_split else turns
    experts = [
        ExpertProjections(
            tuple(projection(size, WIDTH, bias=not is_split) for size in sizes),
            projection(WIDTH, INNER, bias=not is_split),
        )
        for _ in range(EXPERTS)
    ]
    x, weights = drawn(TOKENS, WIDTH), drawn(TOKENS, PER_TOKEN)
    # The last expert has no token.
    chosen = torch.stack([torch.randperm(EXPERTS - 1)[:PER_TOKEN] for _ in range(TOKENS)])
    routing = Routing.of(chosen, EXPERTS)
    ours = expert_mlp(x, weights, routing, experts, AnyActivation(gate))
    rows = []
    for token in range(TOKENS):
        slots = []
        for k in range(PER_TOKEN):
            first, down = experts[int(chosen[token, k])]
            made = torch.cat([product(p, x[token]) for p in first])
            slots.append(weights[token, k] * product(down, gate(made)))
        rows.append(torch.stack(slots).sum(0))
    expected = torch.stack(rows)
    torch.testing.assert_close(ours, expected)
    with torch.no_grad():
        plain = expert_mlp(x, weights, routing, experts, AnyActivation(gate))
    assert torch.equal(plain, ours)

    pairs = [t for e in experts for p in (*e.first, e.down) for t in (p.a, p.b) if t is not None]
    upstream = torch.randn_like(ours)
    found = torch.autograd.grad(ours, (x, weights, *pairs), upstream)
    wanted: Sequence[Any] = torch.autograd.grad(
        expected, (x, weights, *pairs), upstream, allow_unused=True
    )
    for mine, other in zip(found, wanted, strict=True):
        if other is None:
            assert not mine.any(), "an expert without tokens has gradients of zero"
        else:
            assert other.any()
            torch.testing.assert_close(mine, other)
