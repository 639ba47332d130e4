"""Lion against the algorithm of the paper (Chen et al. 2023, Algorithm 2) in numpy's float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from vox_populi.contract.optimizer_choice import OptimizerKind
from vox_populi.contract.setting_groups import OptimizationSettings
from vox_populi.train.optimizers.lion import Lion

BETA1, BETA2 = 0.9, 0.99
RTOL, ATOL = 1e-5, 1e-6
"""Ten updates of size 0.1 in f32 beside f64."""


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_updates_equal_those_of_the_paper(weight_decay: float) -> None:
    generator = np.random.default_rng(0)
    start = generator.standard_normal((6, 7)).astype(np.float32)
    trained = nn.Parameter(torch.from_numpy(start.copy()))
    settings = OptimizationSettings(optimizer=OptimizerKind.LION, weight_decay=weight_decay)
    optimizer = Lion({"a": trained}, settings)
    expected, momentum = start.astype(np.float64), np.zeros(start.shape)
    for step in range(10):
        gradient = generator.standard_normal(start.shape).astype(np.float32)
        rate = 0.1 / (step + 1)
        trained.grad = torch.from_numpy(gradient)
        optimizer.step(rate)
        direction = np.sign(BETA1 * momentum + (1 - BETA1) * gradient)
        expected = expected - rate * (direction + weight_decay * expected)
        momentum = BETA2 * momentum + (1 - BETA2) * gradient
    found = trained.detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=RTOL, atol=ATOL)
    np.testing.assert_allclose(
        optimizer.state["momentum.a"].numpy(), momentum, rtol=RTOL, atol=ATOL
    )
    assert np.abs(found - start).max() > 0.1
