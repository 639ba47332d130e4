"""Experts with an activation of another program, as one autograd function.

As `expert_mlp`, with anything between the first products and the last one: a function of their
results, which the backward pass calls again. Products may have biases, and gate and up may be one
matrix. Saved are the input, the weights and the results of the first products.

Shape letters: T tokens, K experts of a token, S = T K slots, E slots of one expert, D model width,
P features of the first products, X of what the function makes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vox_tensor.expert_mlp import Routing
from vox_tensor.lora import Fixed, Projection, flatten, project, project_backward, unflatten

Gate = Callable[[Tensor], Tensor]
"""Makes `[E, X]` of `[E, P]`, each row of its own; nothing in it is trained."""


class GatedExpert(NamedTuple):
    """The linear maps of one expert; each may carry a LoRA update."""

    first: tuple[Projection, ...]
    """Their results side by side are what the gate is given."""
    down: Projection
    """`[D, X]`."""


def gated_experts(
    x_TD: Tensor,
    weights_TK: Tensor,
    routing: Routing,
    experts: Sequence[GatedExpert],
    gate: Gate,
) -> Tensor:
    """The sum over a token's experts of `weight * down(gate(first(x)))`: `[T, D]` to `[T, D]`.

    Args:
        x_TD: Input of all experts.
        weights_TK: Weight of every slot, in float32.
        routing: Which expert computes which slot.
        experts: Their frozen projections, alike in number; dropout masks have as many tokens as the
            routing gives each expert.
        gate: The activation.
    """
    if not torch.is_grad_enabled():
        return _sum(x_TD, weights_TK, routing, experts, gate, needs_dx=False)[0]
    fixed, flat = flatten([p for expert in experts for p in (*expert.first, expert.down)])
    n_first = len(experts[0].first)
    return _gated_experts(x_TD, weights_TK, routing, gate, n_first, fixed, *flat)


def _sum(
    x_TD: Tensor,
    weights_TK: Tensor,
    routing: Routing,
    experts: Sequence[GatedExpert],
    gate: Gate,
    *,
    needs_dx: bool,
) -> tuple[Tensor, list[Tensor]]:
    """The result, and those of the first products of every expert with a slot."""
    out_TD = torch.zeros_like(x_TD, dtype=weights_TK.dtype)
    weights_S = weights_TK.reshape(-1)
    kept: list[Tensor] = []
    for number, slots_E in routing.shares():
        tokens_E = slots_E // routing.per_token
        x_ED = x_TD.index_select(0, tokens_E)
        first, down = experts[number]
        made_EP = _side_by_side([project(x_ED, p, needs_dx=needs_dx) for p in first])
        kept.append(made_EP)
        y_ED = project(gate(made_EP), down, needs_dx=needs_dx)
        weights_E1 = weights_S.index_select(0, slots_E).unsqueeze(1)
        out_TD.index_add_(0, tokens_E, y_ED * weights_E1)
    return out_TD.to(x_TD.dtype), kept


class _GatedExperts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_TD: Tensor,
        weights_TK: Tensor,
        routing: Routing,
        gate: Gate,
        n_first: int,
        fixed: tuple[Fixed, ...],
        *flat: Any,
    ) -> Tensor:
        experts = _grouped(unflatten(flat, fixed), n_first)
        out_TD, kept = _sum(x_TD, weights_TK, routing, experts, gate, needs_dx=True)
        ctx.save_for_backward(x_TD, weights_TK, routing.slots_S, *kept, *flat)
        ctx.routing, ctx.gate, ctx.n_first, ctx.fixed = routing, gate, n_first, fixed
        return out_TD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x_TD, weights_TK, slots_S, *rest = ctx.saved_tensors
        n_kept = len(rest) - 5 * len(ctx.fixed)
        experts = _grouped(unflatten(rest[n_kept:], ctx.fixed), ctx.n_first)
        backward = _Backward(ctx, grads[0], x_TD, weights_TK)
        found: dict[int, list[Tensor | None]] = {}
        # A pass that is repeated sorts again: the numbers that it saved are the ones to use.
        routing = ctx.routing._replace(slots_S=slots_S)
        for made_EP, (number, slots_E) in zip(rest[:n_kept], routing.shares(), strict=True):
            found[number] = backward.of_expert(experts[number], slots_E, made_EP)
        out: list[Tensor | None] = []
        for number, (first, down) in enumerate(experts):
            pairs = found.get(number) or [None] * 2 * (len(first) + 1)
            for index, p in enumerate((*first, down)):
                grad_a, grad_b = pairs[2 * index : 2 * index + 2]
                # An expert without a token still takes part in the step, with zeros.
                out += [None, None, _or_zeros(grad_a, p.a), _or_zeros(grad_b, p.b), None]
        # One entry per argument of `forward`: x, weights, routing, gate, n_first, fixed, then the
        # tensors of `lora.flatten`.
        return backward.dx_TD, backward.dw_TK, None, None, None, None, *out


# torch leaves `apply` unannotated; the name gives it a type.
_gated_experts: Callable[..., Tensor] = _GatedExperts.apply


class _Backward:
    """The backward pass over one mixture; gradients of input and weights add up by expert."""

    def __init__(self, ctx: Any, g_TD: Tensor, x_TD: Tensor, weights_TK: Tensor) -> None:
        self._g_TD, self._x_TD, self._gate = g_TD, x_TD, ctx.gate
        self._weights_S = weights_TK.reshape(-1)
        self._per_token = ctx.routing.per_token
        self._needs_dx = ctx.needs_input_grad[0]
        self._dx_TD = torch.zeros_like(x_TD, dtype=weights_TK.dtype) if self._needs_dx else None
        self.dw_TK = torch.zeros_like(weights_TK) if ctx.needs_input_grad[1] else None

    @property
    def dx_TD(self) -> Tensor | None:
        """Gradient of the input, in its dtype."""
        return None if self._dx_TD is None else self._dx_TD.to(self._x_TD.dtype)

    def of_expert(
        self, expert: GatedExpert, slots_E: Tensor, made_EP: Tensor
    ) -> list[Tensor | None]:
        """Add an expert's part; returns the gradients of A and B of its projections."""
        tokens_E = slots_E // self._per_token
        weights_E1 = self._weights_S.index_select(0, slots_E).unsqueeze(1)
        g_ED = self._g_TD.index_select(0, tokens_E)
        with torch.enable_grad():
            given_EP = made_EP.detach().requires_grad_()
            h_EX = self._gate(given_EP)
        # The weight goes in front of `down`, so that its input's gradient lacks it.
        weighted_EX = (h_EX.detach() * weights_E1).to(h_EX.dtype)
        dh_EX, of_down = project_backward(g_ED, weighted_EX, expert.down, None, needs_dx=True)
        assert dh_EX is not None, "it was asked for"
        if self.dw_TK is not None:
            dw_E = self._weight_gradient(dh_EX, h_EX.detach(), g_ED, expert.down)
            self.dw_TK.view(-1).index_copy_(0, slots_E, dw_E)
        (dmade_EP,) = torch.autograd.grad(h_EX, given_EP, (dh_EX * weights_E1).to(h_EX.dtype))
        x_ED, dx_ED = self._x_TD.index_select(0, tokens_E), None
        found: list[Tensor | None] = []
        for g_EP, p in zip(_split(dmade_EP, expert.first), expert.first, strict=True):
            dx_ED, of_first = project_backward(g_EP, x_ED, p, dx_ED, needs_dx=self._needs_dx)
            found += of_first
        if self._dx_TD is not None and dx_ED is not None:
            self._dx_TD.index_add_(0, tokens_E, dx_ED.to(self._dx_TD.dtype))
        return [*found, *of_down]

    def _weight_gradient(
        self, dh_EX: Tensor, h_EX: Tensor, g_ED: Tensor, down: Projection
    ) -> Tensor:
        """Gradient of the slots' weights: `g . (down(h) + bias)`, without another product."""
        dtype = self._weights_S.dtype
        dw_E: Tensor = torch.linalg.vecdot(dh_EX.to(dtype), h_EX.to(dtype))
        return dw_E if down.bias is None else dw_E.addmv(g_ED.to(dtype), down.bias.to(dtype))


def _side_by_side(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=-1)


def _split(g_EP: Tensor, first: Sequence[Projection]) -> Sequence[Tensor]:
    if len(first) == 1:
        return (g_EP,)
    return [part.contiguous() for part in g_EP.split([p.weight.shape[0] for p in first], dim=-1)]


def _grouped(projections: Sequence[Projection], n_first: int) -> list[GatedExpert]:
    step = n_first + 1
    groups = [projections[start : start + step] for start in range(0, len(projections), step)]
    return [GatedExpert(tuple(group[:-1]), group[-1]) for group in groups]


def _or_zeros(grad: Tensor | None, like: Tensor | None) -> Tensor | None:
    return torch.zeros_like(like) if grad is None and like is not None else grad
