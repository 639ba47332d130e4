"""The experts of a mixture as one autograd function: each computes the tokens sent to it.

Slots, one per token and expert of it, are sorted by expert; an expert's products then run over its
slots at once. The result is `sum over k of w[t, k] * down(activation(first(x)))`, with the
projections of the k-th expert of token t. Saved are the input, the weights and the first products;
nothing of the width of the model per slot is kept.

The backward pass needs no result of an expert for the gradient of its weight in the sum: with
h = activation(first(x)), `d loss / d w = g . (down(h) + bias) = (g @ down) . h + g . bias`, and
`g @ down` is needed anyway.

Shape letters: T tokens, K experts of a token, N experts, S = T K slots, E slots of one expert,
D model width, P features of a first product, X width of an expert.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vox_tensor.expert_activation import ExpertActivation
from vox_tensor.lora import Fixed, Projection, flatten, project, project_backward, unflatten


class ExpertProjections(NamedTuple):
    """The linear maps of one expert; each may carry a LoRA update."""

    first: tuple[Projection, ...]
    """`[P, D]` each: gate and up, for instance. All experts have as many."""
    down: Projection
    """`[D, X]`."""


class Routing(NamedTuple):
    """Which slots each expert computes."""

    slots_S: Tensor
    """Numbers of the slots (`t * K + k`), sorted by expert, and by token within one."""
    counts: tuple[int, ...]
    """Slots of every expert."""
    per_token: int
    """K."""

    @classmethod
    def of(cls, chosen_TK: Tensor, n_experts: int) -> Routing:
        """The routing of tokens to the experts `chosen_TK`; none twice for one token."""
        flat_S = chosen_TK.reshape(-1)
        slots_S = torch.argsort(flat_S, stable=True)
        # Known on the host, since every expert's share decides the shape of its products.
        counts = torch.bincount(flat_S, minlength=n_experts).tolist()
        return cls(slots_S, tuple(counts), chosen_TK.shape[1])

    def shares(self) -> Iterator[tuple[int, Tensor]]:
        """Number and slots `[E]` of every expert that has some."""
        parts = self.slots_S.split(list(self.counts))
        return ((number, part) for number, part in enumerate(parts) if len(part))


def expert_mlp(
    x_TD: Tensor,
    weights_TK: Tensor,
    routing: Routing,
    experts: Sequence[ExpertProjections],
    activation: ExpertActivation,
    *,
    needs_result: bool = True,
) -> Tensor:
    """Compute the weighted sum of every token's experts: `[T, D]` to `[T, D]`.

    With frozen weights one autograd function records the pass. A trainable weight (pre-training)
    goes through plain autograd, and so does a pass without gradients.

    Args:
        x_TD: Input of all experts.
        weights_TK: Weight of every slot, in float32.
        routing: Which expert computes which slot.
        experts: Their projections, with dropout masks for as many tokens as the routing gives
            each of them.
        activation: What is between the first products and the last.
        needs_result: See `gated_mlp.activated_down`.
    """
    every = [projection for expert in experts for projection in (*expert.first, expert.down)]
    if not torch.is_grad_enabled() or any(p.weight.requires_grad for p in every):
        mixture = _Mixture(x_TD, weights_TK, routing, experts, activation)
        return mixture.total([], _Needs())
    fixed, flat = flatten(every)
    return _expert_mlp(x_TD, weights_TK, routing, activation, needs_result, fixed, *flat)


class _Needs(NamedTuple):
    """What is asked of a pass."""

    dx: bool = False
    """The gradient of the input."""
    dh: bool = False
    """A gradient of anything at or below the activations."""
    result: bool = True


class _Mixture(NamedTuple):
    x_TD: Tensor
    weights_TK: Tensor
    routing: Routing
    experts: Sequence[ExpertProjections]
    activation: ExpertActivation

    def total(self, kept: list[Tensor], needs: _Needs) -> Tensor:
        """The sum, recorded or not by autograd; appends the first products of every share."""
        out_TD = torch.zeros_like(self.x_TD, dtype=self.weights_TK.dtype)
        weights_S = self.weights_TK.reshape(-1)
        for number, slots_E in self.routing.shares():
            tokens_E = slots_E // self.routing.per_token
            x_ED = self.x_TD.index_select(0, tokens_E)
            first, down = self.experts[number]
            made = [project(x_ED, p, needs_dx=needs.dx) for p in first]
            kept += made
            if needs.result:
                y_ED = project(self.activation.result(made), down, needs_dx=needs.dh)
                weighted_ED = y_ED * weights_S.index_select(0, slots_E).unsqueeze(1)
                out_TD.index_add_(0, tokens_E, weighted_ED)
        return out_TD.to(self.x_TD.dtype)


class _ExpertMlp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_TD: Tensor,
        weights_TK: Tensor,
        routing: Routing,
        activation: ExpertActivation,
        needs_result: bool,
        fixed: tuple[Fixed, ...],
        *flat: Any,
    ) -> Tensor:
        experts = _grouped(unflatten(flat, fixed), len(routing.counts))
        needs_dh = _needs_inner(ctx, len(experts[0].first))
        needs = _Needs(ctx.needs_input_grad[0], needs_dh, needs_result)
        kept: list[Tensor] = []
        out_TD = _Mixture(x_TD, weights_TK, routing, experts, activation).total(kept, needs)
        ctx.save_for_backward(x_TD, weights_TK, routing.slots_S, *kept, *flat)
        ctx.routing, ctx.activation, ctx.fixed = routing, activation, fixed
        return out_TD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x_TD, weights_TK, slots_S, *rest = ctx.saved_tensors
        n_kept = len(rest) - 5 * len(ctx.fixed)
        kept, flat = rest[:n_kept], rest[n_kept:]
        experts = _grouped(unflatten(flat, ctx.fixed), len(ctx.routing.counts))
        n_first = len(experts[0].first)
        backward = _Backward(ctx, grads[0], x_TD, weights_TK, _needs_inner(ctx, n_first))
        found: dict[int, list[Tensor | None]] = {}
        # A pass that is repeated sorts again: the numbers that it saved are the ones to use.
        routing = ctx.routing._replace(slots_S=slots_S)
        for place, (number, slots_E) in enumerate(routing.shares()):
            made = kept[place * n_first : (place + 1) * n_first]
            found[number] = backward.of_expert(experts[number], slots_E, made)
        out: list[Tensor | None] = []
        for number, (first, down) in enumerate(experts):
            pairs = found.get(number) or [None] * 2 * (n_first + 1)
            for index, p in enumerate((*first, down)):
                grad_a, grad_b = pairs[2 * index : 2 * index + 2]
                # An expert without a token still takes part in the step, with zeros.
                out += [None, None, _or_zeros(grad_a, p.a), _or_zeros(grad_b, p.b), None]
        # One entry per argument of `forward`: x, weights, routing, activation, needs_result, fixed,
        # then the tensors of `lora.flatten`.
        return backward.dx_TD, backward.dw_TK, None, None, None, None, *out


# torch leaves `apply` unannotated; the name gives it a type.
_expert_mlp: Callable[..., Tensor] = _ExpertMlp.apply


class _Backward:
    """The backward pass over one mixture; gradients of input and weights add up by expert."""

    def __init__(
        self, ctx: Any, g_TD: Tensor, x_TD: Tensor, weights_TK: Tensor, needs_dh: bool
    ) -> None:
        self._g_TD, self._x_TD = g_TD, x_TD
        self._weights_S = weights_TK.reshape(-1)
        self._per_token, self._activation = ctx.routing.per_token, ctx.activation
        self._needs_dx, self._needs_dh = ctx.needs_input_grad[0], needs_dh
        self._dx_TD = torch.zeros_like(x_TD, dtype=weights_TK.dtype) if self._needs_dx else None
        self.dw_TK = torch.zeros_like(weights_TK) if ctx.needs_input_grad[1] else None

    @property
    def dx_TD(self) -> Tensor | None:
        """Gradient of the input, in its dtype."""
        return None if self._dx_TD is None else self._dx_TD.to(self._x_TD.dtype)

    def of_expert(
        self, expert: ExpertProjections, slots_E: Tensor, made: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """Add an expert's part; returns the gradients of A and B of its projections."""
        tokens_E = slots_E // self._per_token
        weights_E1 = self._weights_S.index_select(0, slots_E).unsqueeze(1)
        g_ED = self._g_TD.index_select(0, tokens_E)
        h_EX, way_back = self._activation.again(made)
        # The weight goes in front of `down`, so that its input's gradient lacks it.
        weighted_EX = (h_EX * weights_E1).to(h_EX.dtype)
        dh_EX, of_down = project_backward(
            g_ED, weighted_EX, expert.down, None, needs_dx=self._needs_dh
        )
        if dh_EX is None:
            return [*[None] * 2 * len(expert.first), *of_down]
        if self.dw_TK is not None:
            dw_E = self._weight_gradient(dh_EX, h_EX, g_ED, expert.down.bias)
            self.dw_TK.view(-1).index_copy_(0, slots_E, dw_E)
        gradients = way_back((dh_EX * weights_E1).to(h_EX.dtype))
        x_ED, dx_ED = self._x_TD.index_select(0, tokens_E), None
        found: list[Tensor | None] = []
        for g_EP, p in zip(gradients, expert.first, strict=True):
            dx_ED, of_first = project_backward(g_EP, x_ED, p, dx_ED, needs_dx=self._needs_dx)
            found += of_first
        if self._dx_TD is not None and dx_ED is not None:
            self._dx_TD.index_add_(0, tokens_E, dx_ED.to(self._dx_TD.dtype))
        return [*found, *of_down]

    def _weight_gradient(
        self, dh_EX: Tensor, h_EX: Tensor, g_ED: Tensor, bias_D: Tensor | None
    ) -> Tensor:
        """Gradient of the slots' weights: `g . (down(h) + bias)`, without another product."""
        dtype = self._weights_S.dtype
        dw_E: Tensor = torch.linalg.vecdot(dh_EX.to(dtype), h_EX.to(dtype))
        return dw_E if bias_D is None else dw_E.addmv(g_ED.to(dtype), bias_D.to(dtype))


_FLAT_START = 6
"""Arguments of `forward` before the flat tensors: weight, bias, a, b, keep of each projection."""


def _needs_inner(ctx: Any, n_first: int) -> bool:
    """Whether anything at or below the activations is trained."""
    wanted = ctx.needs_input_grad
    return any(wanted[:2]) or any(
        wanted[_FLAT_START + 5 * number + part]
        for number in range(len(wanted[_FLAT_START:]) // 5)
        if number % (n_first + 1) < n_first
        for part in (2, 3)
    )


def _grouped(projections: Sequence[Projection], n_experts: int) -> list[ExpertProjections]:
    step = len(projections) // n_experts
    groups = [projections[start : start + step] for start in range(0, len(projections), step)]
    return [ExpertProjections(tuple(group[:-1]), group[-1]) for group in groups]


def _or_zeros(grad: Tensor | None, like: Tensor | None) -> Tensor | None:
    return torch.zeros_like(like) if grad is None and like is not None else grad
