"""AdamW over the adapter and gradient clipping; all state is visible and in parameter order.

torch's optimizers import its compiler when they are built, which costs seconds at every start;
the update itself is a few lines. Loshchilov and Hutter 2019, arXiv 1711.05101.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

EPSILON = 1e-8


class AdamW:
    """Adam with decoupled weight decay, the arithmetic of `torch.optim.AdamW`.

    Args:
        parameters: What it updates; moments are kept in their dtype and on their device.
        weight_decay: Fraction of a parameter taken away per unit of learning rate.
        betas: Decay of the first and second moment.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        weight_decay: float,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        self.parameters: list[Tensor] = list(parameters)
        self.weight_decay = weight_decay
        self.betas = betas
        self.steps = 0
        self.first_moments = [torch.zeros_like(p) for p in self.parameters]
        self.second_moments = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update every parameter from its gradient at the learning rate of this step.

        Raises:
            ValueError: When a parameter has no gradient.
        """
        if any(p.grad is None for p in self.parameters):
            message = "every parameter needs a gradient before a step"
            raise ValueError(message)
        grads: list[Tensor] = [p.grad for p in self.parameters if p.grad is not None]
        self.steps += 1
        beta1, beta2 = self.betas
        torch._foreach_lerp_(self.first_moments, grads, 1 - beta1)
        torch._foreach_mul_(self.second_moments, beta2)
        torch._foreach_addcmul_(self.second_moments, grads, grads, 1 - beta2)
        spread = torch._foreach_sqrt(self.second_moments)
        torch._foreach_div_(spread, (1 - beta2**self.steps) ** 0.5)
        torch._foreach_add_(spread, EPSILON)
        torch._foreach_mul_(self.parameters, 1 - rate * self.weight_decay)
        torch._foreach_addcdiv_(
            self.parameters, self.first_moments, spread, -rate / (1 - beta1**self.steps)
        )

    @torch.no_grad()
    def restore(self, steps: int, first: Sequence[Tensor], second: Sequence[Tensor]) -> None:
        """Go on from moments that were read out, in parameter order.

        Raises:
            ValueError: When they do not fit the parameters.
        """
        for own, given in ((self.first_moments, first), (self.second_moments, second)):
            if [moment.shape for moment in own] != [moment.shape for moment in given]:
                message = "the moments do not have the shapes of the parameters"
                raise ValueError(message)
            for place, moment in zip(own, given, strict=True):
                place.copy_(moment)
        self.steps = steps

    def forget_gradients(self) -> None:
        """Drop all gradients before the next step's are accumulated."""
        for parameter in self.parameters:
            parameter.grad = None


def clip_gradients(parameters: Sequence[nn.Parameter], max_norm: float) -> Tensor:
    """Scale all gradients so that their joint L2 norm is at most `max_norm`; 0 turns it off.

    Returns:
        The norm before scaling, a float32 scalar; it is not finite when any gradient is not.
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    norms = torch.stack(torch._foreach_norm(grads))
    norm: Tensor = torch.linalg.vector_norm(norms)
    if max_norm > 0:
        torch._foreach_mul_(grads, (max_norm / (norm + 1e-6)).clamp(max=1.0))
    return norm
