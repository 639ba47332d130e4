"""The optimizer against torch's, and clipping against its definition."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vox_populi.train.optimizer import AdamW, clip_gradients

# Ten updates of size 0.1 in f32, the same operations in another order.
SAME_ARITHMETIC = {"rtol": 1e-6, "atol": 1e-7}


def parameters() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(5))]


def fill_gradients(all_parameters: list[nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for p in all_parameters:
        p.grad = torch.randn(p.shape, generator=generator)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_updates_equal_those_of_torch(weight_decay: float) -> None:
    ours, theirs = parameters(), parameters()
    start = [p.detach().clone() for p in ours]
    optimizer = AdamW(ours, weight_decay, (0.8, 0.95))
    oracle = torch.optim.AdamW(theirs, lr=0.0, betas=(0.8, 0.95), weight_decay=weight_decay)
    for step in range(10):
        rate = 0.1 / (step + 1)
        fill_gradients(ours, step)
        fill_gradients(theirs, step)
        optimizer.step(rate)
        oracle.param_groups[0]["lr"] = rate
        oracle.step()
    for mine, other, before in zip(ours, theirs, start, strict=True):
        torch.testing.assert_close(mine, other, **SAME_ARITHMETIC)  # type: ignore[arg-type]  # a dict of both bounds
        assert not torch.allclose(mine, before)


def test_a_missing_gradient_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a gradient"):
        AdamW(parameters(), 0.0).step(0.1)


def test_gradients_can_be_forgotten() -> None:
    mine = parameters()
    fill_gradients(mine, 0)
    AdamW(mine, 0.0).forget_gradients()
    assert all(p.grad is None for p in mine)


@pytest.mark.parametrize("max_norm", [0.0, 0.5, 1e6])
def test_clipping_scales_to_the_joint_norm(max_norm: float) -> None:
    mine = parameters()
    fill_gradients(mine, 1)
    before = torch.cat([p.grad.flatten() for p in mine if p.grad is not None])
    norm = clip_gradients(mine, max_norm)
    after = torch.cat([p.grad.flatten() for p in mine if p.grad is not None])
    torch.testing.assert_close(norm, before.norm())
    if max_norm == 0.5:
        torch.testing.assert_close(after, before * (0.5 / before.norm()))
        assert not torch.equal(after, before)
    else:
        assert torch.equal(after, before)


def test_a_gradient_that_is_not_finite_shows_in_the_norm() -> None:
    mine = parameters()
    fill_gradients(mine, 1)
    assert mine[1].grad is not None
    mine[1].grad[2] = torch.nan
    assert not torch.isfinite(clip_gradients(mine, 1.0))
