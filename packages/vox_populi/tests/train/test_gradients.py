"""Clipping against its definition, and gradients that are dropped."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vox_populi.train.gradients import clip_gradients, forget_gradients


def parameters() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(5))]


def fill_gradients(all_parameters: list[nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for p in all_parameters:
        p.grad = torch.randn(p.shape, generator=generator)


def test_gradients_can_be_forgotten() -> None:
    mine = parameters()
    fill_gradients(mine, 0)
    forget_gradients(mine)
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
