"""The fused activation and down projection against float64 autograd."""

from __future__ import annotations

import pytest
import torch

from vox_tensor.gated_mlp import (
    ActivationKind,
    activate,
    activated_down,
)
from vox_tensor.lora import Projection


def rand(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("kind", list(ActivationKind))
@pytest.mark.parametrize("gated", [True, False])
def test_gradients_pass_gradcheck(kind: ActivationKind, gated: bool) -> None:
    weight, bias = rand(3, 6, seed=0), rand(3, seed=1)
    u = rand(4, 6, seed=2).requires_grad_()
    up = rand(4, 6, seed=3).requires_grad_() if gated else None
    a, b = rand(2, 6, seed=4).requires_grad_(), rand(3, 2, seed=5).requires_grad_()

    def run(u: torch.Tensor, a: torch.Tensor, b: torch.Tensor, *up: torch.Tensor) -> torch.Tensor:
        return activated_down(u, up[0] if up else None, kind, Projection(weight, bias, a, b, 0.7))

    assert torch.autograd.gradcheck(run, (u, a, b) if up is None else (u, a, b, up))


@pytest.mark.parametrize("gated", [True, False])
def test_equals_the_composed_computation(gated: bool) -> None:
    weight = rand(3, 6, seed=0)
    u, up = rand(4, 6, seed=2), rand(4, 6, seed=3) if gated else None
    h = activate(u, ActivationKind.SILU) * (1 if up is None else up)
    out = activated_down(u, up, ActivationKind.SILU, Projection(weight, None))
    torch.testing.assert_close(out, h @ weight.T)
    assert not torch.allclose(out, u @ weight.T)


def test_a_trainable_weight_gets_its_gradient() -> None:
    weight = rand(3, 6, seed=0).requires_grad_()
    activated_down(
        rand(4, 6, seed=1), None, ActivationKind.GELU_TANH, Projection(weight, None)
    ).sum().backward()
    assert weight.grad is not None
    assert weight.grad.abs().sum() > 0
