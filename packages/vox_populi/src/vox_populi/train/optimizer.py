"""AdamW over the adapter (Loshchilov and Hutter 2019, arXiv 1711.05101) and gradient checks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def build_optimizer(
    parameters: Sequence[nn.Parameter], weight_decay: float, betas: tuple[float, float]
) -> torch.optim.AdamW:
    """AdamW with the learning rate left at zero: the engine sets it at every step."""
    fused = all(p.is_cuda for p in parameters)
    return torch.optim.AdamW(
        parameters, lr=0.0, betas=betas, eps=1e-8, weight_decay=weight_decay, fused=fused
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group the rate of the coming step."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip_gradients(parameters: Sequence[nn.Parameter], max_norm: float) -> Tensor:
    """Scale all gradients so that their joint L2 norm is at most `max_norm`; 0 turns it off.

    Returns:
        The norm before scaling, a float32 scalar; it is not finite when any gradient is not.
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    norm: Tensor = torch.linalg.vector_norm(
        torch.stack([torch.linalg.vector_norm(g) for g in grads])
    )
    if max_norm > 0:
        factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        for grad in grads:
            grad.mul_(factor)
    return norm
