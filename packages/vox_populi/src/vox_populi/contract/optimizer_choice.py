"""The optimizers of a run, and what each keeps for every tensor that it trains. No torch.

Memory estimate, disk estimate, plan, manifest and the check of a checkpoint follow from the rows
of `OPTIMIZERS`; the update itself is in `vox_populi/train/optimizers/<name>.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import prod
from typing import NamedTuple

from vox_populi.containers.dtypes import bytes_of_values

Shape = tuple[int, ...]

QUANT_BLOCK = 256
"""Values that share a scale in 8-bit state, as in bitsandbytes."""
LEAST_QUANTISED = 4096
"""Tensors with fewer values keep 32-bit state, as in bitsandbytes: they would save nothing."""


class OptimizerKind(StrEnum):
    """Optimizer."""

    ADAMW = "adamw"
    LION = "lion"
    ADAMW8BIT = "adamw8bit"


class StateTensor(NamedTuple):
    """A tensor that an optimizer keeps for a tensor that it trains."""

    name: str
    """Prefix of its name in a checkpoint."""
    dtype: str
    """Dtype in safetensors' names: `F32` or `U8`."""
    shape: Shape

    @property
    def n_bytes(self) -> int:
        """Size in memory and on disk."""
        return bytes_of_values(self.dtype, self.shape)


@dataclass(frozen=True, slots=True)
class OptimizerFacts:
    """Facts about an optimizer that are known without running it."""

    title: str
    """Display name."""
    state_of: Callable[[Shape], tuple[StateTensor, ...]]
    """State it keeps for a tensor of this shape; zeros at the start."""

    def state_tensors(self, trained: Mapping[str, Shape]) -> dict[str, StateTensor]:
        """Everything it keeps, by the names that checkpoints use.

        Args:
            trained: Name and shape of every tensor that is trained.
        """
        return {
            f"{each.name}.{name}": each
            for name, shape in trained.items()
            for each in self.state_of(shape)
        }

    def state_bytes(self, shapes: Iterable[Shape]) -> int:
        """Size of everything it keeps for tensors of these shapes."""
        return sum(each.n_bytes for shape in shapes for each in self.state_of(shape))


OPTIMIZER_KEY = "optimizer"
"""Key of `FinetuneContract.canonical()`, present for every optimizer except AdamW."""


def requested_optimizer(canonical: Mapping[str, object]) -> OptimizerKind:
    """The optimizer of a request as records store it: older ones have none, and mean AdamW.

    Raises:
        ValueError: For an unknown one.
    """
    return OptimizerKind(str(canonical.get(OPTIMIZER_KEY, OptimizerKind.ADAMW)))


def _two_moments(shape: Shape) -> tuple[StateTensor, ...]:
    return StateTensor("first_moment", "F32", shape), StateTensor("second_moment", "F32", shape)


def _momentum(shape: Shape) -> tuple[StateTensor, ...]:
    return (StateTensor("momentum", "F32", shape),)


def _two_quantised_moments(shape: Shape) -> tuple[StateTensor, ...]:
    n_values = prod(shape)
    if n_values < LEAST_QUANTISED:
        return _two_moments(shape)
    scales = (-(-n_values // QUANT_BLOCK),)
    return (
        StateTensor("first_codes", "U8", shape),
        StateTensor("first_scales", "F32", scales),
        StateTensor("second_codes", "U8", shape),
        StateTensor("second_scales", "F32", scales),
    )


OPTIMIZERS: Mapping[OptimizerKind, OptimizerFacts] = {
    OptimizerKind.ADAMW: OptimizerFacts("AdamW", _two_moments),
    OptimizerKind.LION: OptimizerFacts("Lion", _momentum),
    OptimizerKind.ADAMW8BIT: OptimizerFacts("8-bit AdamW", _two_quantised_moments),
}
