"""What happens to gradients between the backward pass and the optimizer: clipping, forgetting."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def forget_gradients(parameters: Iterable[Tensor]) -> None:
    """Drop all gradients before the next step's are accumulated."""
    for parameter in parameters:
        parameter.grad = None


def clip_gradients(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
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
