"""What an expert computes between its first products and its last one.

Nothing in it is trained. The backward pass calls it again instead of keeping its result. Shape
letters: E slots of one expert, P features of a first product, X features of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vox_tensor.gated_mlp import ActivationKind, activate, inner_gradients

Backward = Callable[[Tensor], Sequence[Tensor]]
"""Makes the gradients of the first products of that of the result, which it may overwrite."""


class ExpertActivation(Protocol):
    """Makes `[E, X]` of the first products, each row of its own."""

    def result(self, made: Sequence[Tensor]) -> Tensor:
        """`[E, X]` of the first products, `[E, P]` each."""

    def again(self, made: Sequence[Tensor]) -> tuple[Tensor, Backward]:
        """The same without a graph, with the way back; called while nothing is recorded."""


@dataclass(frozen=True, slots=True)
class GateAndUp:
    """`act(gate) * up`."""

    kind: ActivationKind

    def result(self, made: Sequence[Tensor]) -> Tensor:
        """See `ExpertActivation`."""
        gate_EX, up_EX = made
        act_EX = activate(gate_EX, self.kind)
        # What autograd records it may read later.
        return act_EX * up_EX if torch.is_grad_enabled() else act_EX.mul_(up_EX)

    def again(self, made: Sequence[Tensor]) -> tuple[Tensor, Backward]:
        """See `ExpertActivation`."""
        gate_EX, up_EX = made
        act_EX = activate(gate_EX, self.kind)

        def backward(dh_EX: Tensor) -> Sequence[Tensor]:
            dgate_EX, dup_EX = inner_gradients(dh_EX, gate_EX, up_EX, act_EX, self.kind)
            assert dgate_EX is not None, "there is a gradient to pass on"
            assert dup_EX is not None, "there is a gate"
            return dgate_EX, dup_EX

        return act_EX * up_EX, backward


@dataclass(frozen=True, slots=True)
class AnyActivation:
    """A function of the first products side by side; autograd finds its way back."""

    function: Callable[[Tensor], Tensor]

    def result(self, made: Sequence[Tensor]) -> Tensor:
        """See `ExpertActivation`."""
        return self.function(_side_by_side(made))

    def again(self, made: Sequence[Tensor]) -> tuple[Tensor, Backward]:
        """See `ExpertActivation`."""
        with torch.enable_grad():
            given = _side_by_side(made).detach().requires_grad_()
            h_EX = self.function(given)

        def backward(dh_EX: Tensor) -> Sequence[Tensor]:
            (gradient,) = torch.autograd.grad(h_EX, given, dh_EX)
            return _split(gradient, [part.shape[-1] for part in made])

        return h_EX.detach(), backward


def _side_by_side(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=-1)


def _split(g_EP: Tensor, sizes: Sequence[int]) -> Sequence[Tensor]:
    if len(sizes) == 1:
        return (g_EP,)
    return [part.contiguous() for part in g_EP.split(list(sizes), dim=-1)]
