"""Muon for hidden matrices (Jordan et al. 2024): momentum, then the nearest orthogonal matrix.

torch's own runs the iteration in bfloat16, which a CPU without bf16 units computes five to
seven times slower than float32; here it is float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_STEPS = 5


class Muon:
    """Nesterov momentum 0.95, orthogonalised by five Newton-Schulz steps.

    Args:
        parameters: Two-dimensional weights `[O, I]`.
        weight_decay: Decoupled decay per unit of learning rate.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], weight_decay: float = 0.0) -> None:
        self._parameters = list(parameters)
        self._momenta = [torch.zeros_like(p) for p in self._parameters]
        self._weight_decay = weight_decay

    @torch.no_grad()
    def step(self, rate: float, momentum: float = 0.95) -> None:
        """Update every weight from its gradient."""
        for parameter, buffer in zip(self._parameters, self._momenta, strict=True):
            grad = parameter.grad
            if grad is None:
                continue
            buffer.lerp_(grad, 1 - momentum)
            direction = orthogonalize(grad.lerp(buffer, momentum))
            scale = max(1.0, parameter.shape[0] / parameter.shape[1]) ** 0.5
            parameter.mul_(1 - rate * self._weight_decay).sub_(direction, alpha=rate * scale)

    def zero_grad(self) -> None:
        """Forget gradients."""
        for parameter in self._parameters:
            parameter.grad = None


def orthogonalize(g_OI: Tensor) -> Tensor:
    """Approximate `U V^T` of the singular value decomposition of `[O, I]`."""
    a, b, c = _COEFFICIENTS
    wide = g_OI if g_OI.shape[0] <= g_OI.shape[1] else g_OI.t()
    x: Tensor = wide / (wide.norm() + 1e-7)
    for _ in range(_STEPS):
        gram = x @ x.t()
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if g_OI.shape[0] <= g_OI.shape[1] else x.t()
