"""From the name of an optimizer to the optimizer."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from vox_populi import extras
from vox_populi.contract.optimizer_choice import OPTIMIZERS, OptimizerKind
from vox_populi.train.optimizers.optimizer import Optimizer


def build_optimizer(
    kind: OptimizerKind, parameters: Mapping[str, Tensor], weight_decay: float
) -> Optimizer:
    """Make an optimizer at its start.

    Args:
        kind: Also the name of the module whose `build` makes it, so a new one needs no line here.
        parameters: What it updates, by name.
        weight_decay: Fraction of a parameter taken away per unit of learning rate.
    """
    module = extras.load(f"vox_populi.train.optimizers.{kind.value}")
    optimizer: Optimizer = module.build(parameters, OPTIMIZERS[kind], weight_decay)
    return optimizer
