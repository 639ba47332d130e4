"""Everything a run needs to go on as if it had never stopped: values, no files."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from vox_populi.train.outcome import Evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """The engine at a step border: after a step's update, evaluation and end of epoch."""

    adapter: Mapping[str, Tensor]
    """What is trained, by name; float32 on the CPU."""
    optimizer: Mapping[str, Tensor]
    """State of the optimizer by the names of `OptimizerFacts.state_tensors`, on the CPU."""
    optimizer_steps: int
    streams: Mapping[str, Tensor]
    """State of every random generator that training draws from, uint8."""
    step: int
    """Optimizer steps done."""
    epoch: int
    """Epochs completed."""
    index_in_epoch: int
    """The data cursor: steps of the current epoch that are done."""
    order_digest: str
    """Of the current epoch's permutation, which seed and epoch decide."""
    tokens: int
    supervised: int
    epoch_loss: float
    """Sum of losses over the supervised tokens of the epoch trained on last."""
    epoch_supervised: int
    evaluations: tuple[Evaluation, ...]
    best: Evaluation | None = None
    """The best evaluation, where early stopping keeps its adapter."""
    best_adapter: Mapping[str, Tensor] | None = None
    stopped_early: bool = False


@dataclass(frozen=True, slots=True)
class CheckpointPolicy:
    """When the engine hands its state out."""

    save: Callable[[EngineState], None]
    """Called between two steps; what it raises ends the run."""
    every: int | None = None
    """Optimizer steps between two checkpoints; `None`: only when the run is asked to stop."""


def order_digest(order: Sequence[int]) -> str:
    """`sha256:` and the hash of a permutation, as 64-bit little-endian numbers."""
    numbers = array("q", order)
    assert numbers.itemsize == 8
    return "sha256:" + hashlib.sha256(numbers.tobytes()).hexdigest()
