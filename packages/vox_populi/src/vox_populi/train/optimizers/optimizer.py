"""What every optimizer shares: named state that can be read out and put back, and the step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from vox_populi.containers.torch_dtypes import TORCH_DTYPE_OF
from vox_populi.contract.optimizer_choice import OPTIMIZERS, OptimizerFacts, Shape
from vox_populi.contract.setting_groups import OptimizationSettings


class Optimizer(ABC):
    """Updates tensors from their gradients; a subclass has nothing but the arithmetic.

    Args:
        parameters: What it updates, by name; state is kept on their devices.
        settings: Which it is, and its strength of decay.
    """

    def __init__(self, parameters: Mapping[str, Tensor], settings: OptimizationSettings) -> None:
        self.parameters = list(parameters.values())
        self.settings = settings
        self.steps = 0
        self.kept: list[dict[str, Tensor]] = []
        """State of each parameter, in their order, by the name of the state."""
        self.state: dict[str, Tensor] = {}
        """The same tensors by the names that checkpoints use; they change with every step."""
        for name, parameter in parameters.items():
            kept = {
                each.name: torch.zeros(
                    each.shape, dtype=TORCH_DTYPE_OF[each.dtype], device=parameter.device
                )
                for each in OPTIMIZERS[settings.optimizer].state_of(tuple(parameter.shape))
            }
            self.kept.append(kept)
            self.state |= {f"{kind}.{name}": tensor for kind, tensor in kept.items()}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update every parameter from its gradient at the learning rate of this step.

        Raises:
            ValueError: When a parameter has no gradient.
        """
        grads = [p.grad for p in self.parameters if p.grad is not None]
        if len(grads) != len(self.parameters):
            message = "every parameter needs a gradient before a step"
            raise ValueError(message)
        self.steps += 1
        self.update(grads, rate)

    @abstractmethod
    def update(self, grads: list[Tensor], rate: float) -> None:
        """Change parameters and state; `steps` counts this step already.

        Args:
            grads: In the order of `parameters`.
            rate: Learning rate.
        """

    def kept_share(self, rate: float) -> float:
        """What decoupled weight decay leaves of a parameter in a step at this rate."""
        return 1 - rate * self.settings.weight_decay

    def every(self, kind: str) -> list[Tensor]:
        """The state of one kind, in the order of `parameters`."""
        return [kept[kind] for kept in self.kept]

    @torch.no_grad()
    def load(self, steps: int, state: Mapping[str, Tensor]) -> None:
        """Continue from a state that was read out.

        Raises:
            ValueError: When it does not fit the parameters.
        """
        if _layout(state) != _layout(self.state):
            message = "the optimizer state does not fit the parameters"
            raise ValueError(message)
        for name, place in self.state.items():
            place.copy_(state[name])
        self.steps = steps


def fits(facts: OptimizerFacts, trained: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> bool:
    """Whether a state has the names, shapes and dtypes that an optimizer keeps for `trained`."""
    kept = facts.state_tensors({name: tuple(t.shape) for name, t in trained.items()})
    return _layout(state) == {
        name: (each.shape, TORCH_DTYPE_OF[each.dtype]) for name, each in kept.items()
    }


def _layout(state: Mapping[str, Tensor]) -> dict[str, tuple[Shape, torch.dtype]]:
    return {name: (tuple(t.shape), t.dtype) for name, t in state.items()}
