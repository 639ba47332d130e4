"""The experts of a mixture as one function: against autograd over each expert by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs vox-tensor[gpu]")

import torch
from torch import Tensor
from torch.nn import functional as F

from vox_tensor.expert_activation import AnyActivation, GateAndUp
from vox_tensor.expert_mlp import ExpertProjections, Routing, expert_mlp
from vox_tensor.gated_mlp import ActivationKind
from vox_tensor.lora import Projection

SWIGLU = GateAndUp(ActivationKind.SILU)
TOKENS, EXPERTS, PER_TOKEN, WIDTH, INNER, RANK = 11, 4, 2, 6, 5, 2
IDLE = 3
"""An expert that no token is sent to."""


def drawn(*shape: int, grad: bool = True) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).requires_grad_(grad)


def case(*, dropout: bool) -> tuple[Tensor, Tensor, Routing, list[ExpertProjections]]:
    torch.manual_seed(3)
    x_TD = drawn(TOKENS, WIDTH)
    chosen_TK = torch.stack([torch.randperm(EXPERTS - 1)[:PER_TOKEN] for _ in range(TOKENS)])
    weights_TK = torch.rand(TOKENS, PER_TOKEN, dtype=torch.float64).requires_grad_(True)
    routing = Routing.of(chosen_TK, EXPERTS)
    experts = []
    for count in routing.counts:
        keep_D = torch.randint(0, 2, (2, count, WIDTH)) * 2.0 if dropout else (None, None)
        keep_X = torch.randint(0, 2, (count, INNER)) * 2.0 if dropout else None
        shapes = ((INNER, WIDTH, keep_D[0]), (INNER, WIDTH, keep_D[1]), (WIDTH, INNER, keep_X))
        gate, up, down = (
            Projection(
                drawn(out, into, grad=False), None, drawn(RANK, into), drawn(out, RANK), 0.7, k
            )
            for out, into, k in shapes
        )
        experts.append(ExpertProjections((gate, up), down))
    return x_TD, weights_TK, routing, experts


def dense(p: Projection, place: int) -> Callable[[Tensor], Tensor]:
    """One projection for one of its slots."""
    assert isinstance(p.weight, Tensor)
    assert p.a is not None
    assert p.b is not None
    weight, a_RI, b_OR = p.weight, p.a, p.b
    keep_I = 1.0 if p.keep is None else p.keep[place]
    return lambda v: F.linear(v, weight) + p.scale * F.linear(F.linear(v * keep_I, a_RI), b_OR)


def by_each_expert(
    x_TD: Tensor, weights_TK: Tensor, routing: Routing, experts: list[ExpertProjections]
) -> Tensor:
    """Every slot's product written out with a dense update, in plain autograd."""
    slots, start = routing.slots_S.tolist(), 0
    rows: list[list[Tensor]] = [[] for _ in range(TOKENS)]
    for expert, count in zip(experts, routing.counts, strict=True):
        for place, slot in enumerate(slots[start : start + count]):
            token, k = divmod(slot, PER_TOKEN)
            gate, up, down = (dense(p, place) for p in (*expert.first, expert.down))
            x = x_TD[token]
            rows[token].append(weights_TK[token, k] * down(F.silu(gate(x)) * up(x)))
        start += count
    return torch.stack([torch.stack(row).sum(0) for row in rows])


def leaves(x: Tensor, weights: Tensor, experts: list[ExpertProjections]) -> list[Tensor]:
    pairs = [t for e in experts for p in (*e.first, e.down) for t in (p.a, p.b) if t is not None]
    return [x, weights, *pairs]


def assert_alike(ours: Tensor, expected: Tensor, inputs: Sequence[Tensor]) -> None:
    """Results and all gradients."""
    torch.testing.assert_close(ours, expected)
    upstream = torch.randn_like(ours)
    found = torch.autograd.grad(ours, inputs, upstream)
    wanted: Sequence[Any] = torch.autograd.grad(expected, inputs, upstream, allow_unused=True)
    for mine, other in zip(found, wanted, strict=True):
        if other is None:
            assert not mine.any(), "an expert without tokens has gradients of zero"
        else:
            assert other.any()
            torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("dropout", [False, True])
def test_result_and_every_gradient_are_those_of_the_experts_by_themselves(dropout: bool) -> None:
    x, weights, routing, experts = case(dropout=dropout)
    assert routing.counts[IDLE] == 0
    ours = expert_mlp(x, weights, routing, experts, SWIGLU)
    expected = by_each_expert(x, weights, routing, experts)
    assert_alike(ours, expected, leaves(x, weights, experts))


def test_a_pass_without_gradients_gives_the_same_numbers() -> None:
    x, weights, routing, experts = case(dropout=False)
    ours = expert_mlp(x, weights, routing, experts, SWIGLU)
    with torch.no_grad():
        plain = expert_mlp(x, weights, routing, experts, SWIGLU)
    torch.testing.assert_close(plain, ours.detach())


def test_trainable_weights_get_the_gradients_of_autograd() -> None:
    x, weights, routing, experts = case(dropout=False)
    ours = expert_mlp(x, weights, routing, experts, SWIGLU)
    trained = [
        e._replace(down=e.down._replace(weight=e.down.weight.clone().requires_grad_()))
        for e in experts
        if isinstance(e.down.weight, Tensor)
    ]
    plain = expert_mlp(x, weights, routing, trained, SWIGLU)
    torch.testing.assert_close(plain, ours)
    inputs, upstream = leaves(x, weights, experts[:IDLE]), torch.randn_like(ours)
    found = torch.autograd.grad(plain, inputs, upstream, retain_graph=True)
    for mine, other in zip(found, torch.autograd.grad(ours, inputs, upstream), strict=True):
        assert other.any()
        torch.testing.assert_close(mine, other)
    weight = trained[0].down.weight
    assert isinstance(weight, Tensor)
    (of_weight,) = torch.autograd.grad(plain, weight, upstream)
    assert of_weight.any()


def test_only_what_learns_gets_a_gradient() -> None:
    x, weights, routing, experts = case(dropout=False)
    downs = [e._replace(first=tuple(p._replace(a=None, b=None) for p in e.first)) for e in experts]
    ours = expert_mlp(x.detach(), weights.detach(), routing, downs, SWIGLU)
    ours.sum().backward()
    assert not any(t.grad is not None for t in (x, weights))
    assert all(e.down.a is not None and e.down.a.grad is not None for e in downs)
    assert all(p.a is not None and p.a.grad is None for e in experts for p in e.first)


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
def test_any_activation_gives_the_result_and_gradients_of_the_slots_by_themselves(
    is_split: bool,
) -> None:
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
    with torch.no_grad():
        plain = expert_mlp(x, weights, routing, experts, AnyActivation(gate))
    assert torch.equal(plain, ours)
    assert_alike(ours, expected, leaves(x, weights, experts))


def test_slots_are_sorted_by_expert_and_then_by_token() -> None:
    routing = Routing.of(torch.tensor([[2, 0], [0, 1], [2, 1]]), 4)
    assert routing.slots_S.tolist() == [1, 2, 3, 5, 0, 4]
    assert routing.counts == (2, 2, 2, 0)
    assert [(number, part.tolist()) for number, part in routing.shares()] == [
        (0, [1, 2]),
        (1, [3, 5]),
        (2, [0, 4]),
    ]
