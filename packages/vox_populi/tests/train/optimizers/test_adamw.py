"""AdamW against torch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vox_populi.contract.setting_groups import OptimizationSettings
from vox_populi.train.optimizers.adamw import AdamW

# Ten updates of size 0.1 in f32, the same operations in another order.
SAME_ARITHMETIC = {"rtol": 1e-6, "atol": 1e-7}


def parameters() -> dict[str, nn.Parameter]:
    torch.manual_seed(0)
    return {"a": nn.Parameter(torch.randn(3, 4)), "b": nn.Parameter(torch.randn(5))}


def fill_gradients(trained: dict[str, nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for p in trained.values():
        p.grad = torch.randn(p.shape, generator=generator)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_updates_equal_those_of_torch(weight_decay: float) -> None:
    ours, theirs = parameters(), parameters()
    start = [p.detach().clone() for p in ours.values()]
    optimizer = AdamW(ours, OptimizationSettings(weight_decay=weight_decay))
    oracle = torch.optim.AdamW(theirs.values(), lr=0.0, weight_decay=weight_decay)
    for step in range(10):
        rate = 0.1 / (step + 1)
        fill_gradients(ours, step)
        fill_gradients(theirs, step)
        optimizer.step(rate)
        oracle.param_groups[0]["lr"] = rate
        oracle.step()
    for mine, other, before in zip(ours.values(), theirs.values(), start, strict=True):
        torch.testing.assert_close(mine, other, **SAME_ARITHMETIC)  # type: ignore[arg-type]  # a dict of both bounds
        assert not torch.allclose(mine, before)
    for name, theirs_of in zip(ours, oracle.state.values(), strict=True):
        for kind, peer in (("first_moment", "exp_avg"), ("second_moment", "exp_avg_sq")):
            moment = optimizer.state[f"{kind}.{name}"]
            torch.testing.assert_close(moment, theirs_of[peer], **SAME_ARITHMETIC)  # type: ignore[arg-type]  # as above
