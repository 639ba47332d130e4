"""Lion: Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", arXiv 2302.06675."""

from __future__ import annotations

import torch
from torch import Tensor

from vox_populi.train.optimizers.optimizer import Optimizer


class Lion(Optimizer):
    """Every value moves by the learning rate in the direction of an interpolated momentum."""

    betas = (0.9, 0.99)
    """Share of the momentum in the direction of a step, and in the momentum after it."""

    def update(self, grads: list[Tensor], rate: float) -> None:
        """Change parameters and momentum."""
        momentum = self.every("momentum")
        beta1, beta2 = self.betas
        direction = torch._foreach_lerp(momentum, grads, 1 - beta1)
        torch._foreach_sign_(direction)
        torch._foreach_mul_(self.parameters, self.kept_share(rate))
        torch._foreach_add_(self.parameters, direction, alpha=-rate)
        torch._foreach_lerp_(momentum, grads, 1 - beta2)


build = Lion
