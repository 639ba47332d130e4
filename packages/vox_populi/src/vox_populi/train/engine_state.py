"""Everything a run needs to continue as if it had never stopped: values, not files."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from vox_populi.train.outcome import Evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """The engine between two steps: after a step's update, evaluation and end of epoch."""

    adapter: Mapping[str, Tensor]
    """Trained tensors by name; float32 on the CPU."""
    optimizer: Mapping[str, Tensor]
    """State of the optimizer, with the names of `OptimizerFacts.state_tensors`, on the CPU."""
    optimizer_steps: int
    streams: Mapping[str, Tensor]
    """State of every random generator used in training, uint8."""
    step: int
    """Optimizer steps done."""
    epoch: int
    """Epochs completed."""
    index_in_epoch: int
    """The data cursor: completed steps of the current epoch."""
    order_digest: str
    """Digest of the current epoch's permutation, which follows from seed and epoch."""
    tokens: int
    supervised: int
    epoch_loss: float
    """Sum of weighted losses over the supervised tokens of the last trained epoch."""
    epoch_supervised: int
    epoch_weight: float
    """What `epoch_loss` is divided by for a mean: without weights, `epoch_supervised`."""
    evaluations: tuple[Evaluation, ...]
    best: Evaluation | None = None
    """The best evaluation, if early stopping keeps its adapter."""
    best_adapter: Mapping[str, Tensor] | None = None
    stopped_early: bool = False
    saved_tokens: int = 0
    """The part of `tokens` that was not computed, since other rows of a step have them too."""

    @property
    def best_step(self) -> int | None:
        """The step, after the first, with the lowest held-out loss."""
        trained = [each for each in self.evaluations if each.step > 0]
        return min(trained, key=lambda each: each.loss).step if trained else None


@dataclass(frozen=True, slots=True)
class CheckpointPolicy:
    """When the engine hands out its state."""

    save: Callable[[EngineState], None]
    """Function called between two steps; an exception ends the run."""
    every: int | None = None
    """Optimizer steps between two checkpoints; `None` means only when the run is asked to stop."""
    keeps_best: bool = False
    """Whether the state is also handed out after an evaluation better than all before it."""


def order_digest(order: Sequence[int]) -> str:
    """`sha256:` and the hash of a permutation, as 64-bit little-endian numbers."""
    digest = hashlib.sha256()
    for start in range(0, len(order), _PIECE):
        numbers = array("q", order[start : start + _PIECE])
        assert numbers.itemsize == 8
        digest.update(numbers)
    return "sha256:" + digest.hexdigest()


_PIECE = 2**16
"""Numbers that are copied at a time."""
