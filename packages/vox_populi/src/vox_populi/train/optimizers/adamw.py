"""AdamW: Loshchilov and Hutter 2019, arXiv 1711.05101.

torch's optimizers import its compiler when they are built, which costs seconds at every start;
the update itself is a few lines.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vox_populi.train.optimizers.optimizer import Optimizer

EPSILON = 1e-8


class AdamW(Optimizer):
    """Adam with decoupled weight decay, the arithmetic of `torch.optim.AdamW`."""

    betas = (0.9, 0.999)
    """Decay of the first and second moment."""

    def update(self, grads: list[Tensor], rate: float) -> None:
        """Change parameters and both moments."""
        first, second = self.every("first_moment"), self.every("second_moment")
        beta1, beta2 = self.betas
        torch._foreach_lerp_(first, grads, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, grads, grads, 1 - beta2)
        spread = torch._foreach_sqrt(second)
        torch._foreach_div_(spread, (1 - beta2**self.steps) ** 0.5)
        torch._foreach_add_(spread, EPSILON)
        torch._foreach_mul_(self.parameters, self.kept_share(rate))
        torch._foreach_addcdiv_(self.parameters, first, spread, -rate / (1 - beta1**self.steps))


build = AdamW
