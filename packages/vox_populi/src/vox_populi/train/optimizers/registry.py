"""Optimizers by name."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from vox_populi import extras
from vox_populi.contract.setting_groups import OptimizationSettings
from vox_populi.train.optimizers.optimizer import Optimizer


def build_optimizer(settings: OptimizationSettings, parameters: Mapping[str, Tensor]) -> Optimizer:
    """Make an optimizer at its start.

    Args:
        settings: The name in them is also that of the module whose `build` makes the optimizer, so
            a new one needs no line here.
        parameters: What it updates, by name.
    """
    module = extras.load(f"vox_populi.train.optimizers.{settings.optimizer.value}")
    optimizer: Optimizer = module.build(parameters, settings)
    return optimizer
