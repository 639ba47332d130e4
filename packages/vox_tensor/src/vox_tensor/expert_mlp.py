"""The experts of a mixture as one autograd function: each computes the tokens sent to it.

Slots, one per token and expert of it, are sorted by expert; an expert's three products then run
over its slots at once. The result is `sum over k of w[t, k] * down(act(gate(x)) * up(x))`, with
the projections of the k-th expert of token t. Saved are the input, the weights and the
pre-activations; nothing of the width of the model per slot is kept.

The backward pass needs no result of an expert for the gradient of its weight in the sum: with
h = act(gate) * up and without biases, `d loss / d w = g . down(h) = (g @ down) . h`, and
`g @ down` is needed anyway.

Shape letters: T tokens, K experts of a token, N experts, S = T K slots, E slots of one expert,
D model width, X width of an expert.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vox_tensor.gated_mlp import ActivationKind, activate, inner_gradients
from vox_tensor.lora import Fixed, Projection, flatten, project, project_backward, unflatten


class ExpertProjections(NamedTuple):
    """The linear maps of one expert; each may carry a LoRA update, none has a bias."""

    gate: Projection
    """`[X, D]`."""
    up: Projection
    """`[X, D]`."""
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
    kind: ActivationKind,
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
        kind: Activation.
        needs_result: See `gated_mlp.activated_down`.

    Raises:
        ValueError: For an expert with a bias.
    """
    every = [projection for expert in experts for projection in expert]
    if any(p.bias is not None for p in every):
        message = "experts have no biases"
        raise ValueError(message)
    if not torch.is_grad_enabled() or any(p.weight.requires_grad for p in every):
        return _plain(x_TD, weights_TK, routing, experts, kind)
    fixed, flat = flatten(every)
    return _expert_mlp(x_TD, weights_TK, routing, kind, needs_result, fixed, *flat)


def _plain(
    x_TD: Tensor,
    weights_TK: Tensor,
    routing: Routing,
    experts: Sequence[ExpertProjections],
    kind: ActivationKind,
) -> Tensor:
    """The sum, recorded or not by autograd."""
    out_TD = torch.zeros_like(x_TD, dtype=weights_TK.dtype)
    weights_S = weights_TK.reshape(-1)
    for number, slots_E in routing.shares():
        tokens_E = slots_E // routing.per_token
        x_ED = x_TD.index_select(0, tokens_E)
        gate, up, down = experts[number]
        y_ED = project(activate(project(x_ED, gate), kind) * project(x_ED, up), down)
        weighted_ED = y_ED * weights_S.index_select(0, slots_E).unsqueeze(1)
        out_TD = out_TD.index_add(0, tokens_E, weighted_ED)
    return out_TD.to(x_TD.dtype)


class _ExpertMlp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_TD: Tensor,
        weights_TK: Tensor,
        routing: Routing,
        kind: ActivationKind,
        needs_result: bool,
        fixed: tuple[Fixed, ...],
        *flat: Any,
    ) -> Tensor:
        experts = _grouped(unflatten(flat, fixed))
        needs_dx, needs_dh = ctx.needs_input_grad[0], _needs_inner(ctx)
        out_TD = torch.zeros_like(x_TD, dtype=weights_TK.dtype)
        weights_S = weights_TK.reshape(-1)
        kept: list[Tensor] = []
        for number, slots_E in routing.shares():
            tokens_E = slots_E // routing.per_token
            x_ED = x_TD.index_select(0, tokens_E)
            gate, up, down = experts[number]
            gate_EX = project(x_ED, gate, needs_dx=needs_dx)
            up_EX = project(x_ED, up, needs_dx=needs_dx)
            kept += [gate_EX, up_EX]
            if needs_result:
                h_EX = activate(gate_EX, kind).mul_(up_EX)
                y_ED = project(h_EX, down, needs_dx=needs_dh)
                weights_E = weights_S.index_select(0, slots_E)
                out_TD.index_add_(0, tokens_E, y_ED * weights_E.unsqueeze(1))
        ctx.save_for_backward(x_TD, weights_TK, routing.slots_S, *kept, *flat)
        ctx.routing, ctx.kind, ctx.fixed = routing, kind, fixed
        return out_TD.to(x_TD.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x_TD, weights_TK, slots_S, *rest = ctx.saved_tensors
        n_kept = len(rest) - 5 * len(ctx.fixed)
        kept, flat = rest[:n_kept], rest[n_kept:]
        experts = _grouped(unflatten(flat, ctx.fixed))
        backward = _Backward(ctx, grads[0], x_TD, weights_TK)
        found: dict[int, list[Tensor | None]] = {}
        # A pass that is repeated sorts again: the numbers that it saved are the ones to use.
        routing = ctx.routing._replace(slots_S=slots_S)
        for place, (number, slots_E) in enumerate(routing.shares()):
            inner = (kept[2 * place], kept[2 * place + 1])
            found[number] = backward.of_expert(experts[number], slots_E, inner)
        out: list[Tensor | None] = []
        for number, expert in enumerate(experts):
            pairs = found.get(number) or [None] * 6
            for index, p in enumerate(expert):
                grad_a, grad_b = pairs[2 * index : 2 * index + 2]
                # An expert without a token still takes part in the step, with zeros.
                out += [None, None, _or_zeros(grad_a, p.a), _or_zeros(grad_b, p.b), None]
        # One entry per argument of `forward`: x, weights, routing, kind, needs_result, fixed,
        # then the tensors of `lora.flatten`.
        return backward.dx_TD, backward.dw_TK, None, None, None, None, *out


# torch leaves `apply` unannotated; the name gives it a type.
_expert_mlp: Callable[..., Tensor] = _ExpertMlp.apply


class _Backward:
    """The backward pass over one mixture; gradients of input and weights add up by expert."""

    def __init__(self, ctx: Any, g_TD: Tensor, x_TD: Tensor, weights_TK: Tensor) -> None:
        self._g_TD, self._x_TD = g_TD, x_TD
        self._weights_S = weights_TK.reshape(-1)
        self._per_token, self._kind = ctx.routing.per_token, ctx.kind
        self._needs_dx, self._needs_dh = ctx.needs_input_grad[0], _needs_inner(ctx)
        self._dx_TD = torch.zeros_like(x_TD, dtype=weights_TK.dtype) if self._needs_dx else None
        self.dw_TK = torch.zeros_like(weights_TK) if ctx.needs_input_grad[1] else None

    @property
    def dx_TD(self) -> Tensor | None:
        """Gradient of the input, in its dtype."""
        return None if self._dx_TD is None else self._dx_TD.to(self._x_TD.dtype)

    def of_expert(
        self, expert: ExpertProjections, slots_E: Tensor, inner: tuple[Tensor, Tensor]
    ) -> list[Tensor | None]:
        """Add an expert's part; returns the gradients of A and B of gate, up and down."""
        gate_EX, up_EX = inner
        tokens_E = slots_E // self._per_token
        weights_E1 = self._weights_S.index_select(0, slots_E).unsqueeze(1)
        g_ED = self._g_TD.index_select(0, tokens_E)
        act_EX = activate(gate_EX, self._kind)
        h_EX = act_EX * up_EX
        # The weight goes in front of `down`, so that its input's gradient lacks it.
        weighted_EX = (h_EX * weights_E1).to(h_EX.dtype)
        dh_EX, of_down = project_backward(
            g_ED, weighted_EX, expert.down, None, needs_dx=self._needs_dh
        )
        if dh_EX is None:
            return [None, None, None, None, *of_down]
        if self.dw_TK is not None:
            dw_E = torch.linalg.vecdot(dh_EX.to(weights_E1.dtype), h_EX.to(weights_E1.dtype))
            self.dw_TK.view(-1).index_copy_(0, slots_E, dw_E)
        dh_EX = (dh_EX * weights_E1).to(h_EX.dtype)
        dgate_EX, dup_EX = inner_gradients(dh_EX, gate_EX, up_EX, act_EX, self._kind)
        assert dgate_EX is not None, "there is a gradient to pass on"
        assert dup_EX is not None, "an expert has a gate"
        x_ED = self._x_TD.index_select(0, tokens_E)
        dx_ED, of_gate = project_backward(
            dgate_EX, x_ED, expert.gate, None, needs_dx=self._needs_dx
        )
        dx_ED, of_up = project_backward(dup_EX, x_ED, expert.up, dx_ED, needs_dx=self._needs_dx)
        if self._dx_TD is not None and dx_ED is not None:
            self._dx_TD.index_add_(0, tokens_E, dx_ED.to(self._dx_TD.dtype))
        return [*of_gate, *of_up, *of_down]


_FLAT_START = 6
"""Arguments of `forward` before the flat tensors: weight, bias, a, b, keep of each projection."""


def _needs_inner(ctx: Any) -> bool:
    """Whether anything at or below the activations is trained."""
    wanted = ctx.needs_input_grad
    return any(wanted[:2]) or any(
        wanted[_FLAT_START + 5 * number + part]
        for number in range(len(wanted[_FLAT_START:]) // 5)
        if number % 3 < 2
        for part in (2, 3)
    )


def _grouped(projections: Sequence[Projection]) -> list[ExpertProjections]:
    triples = zip(projections[::3], projections[1::3], projections[2::3], strict=True)
    return [ExpertProjections(*triple) for triple in triples]


def _or_zeros(grad: Tensor | None, like: Tensor | None) -> Tensor | None:
    return torch.zeros_like(like) if grad is None and like is not None else grad
