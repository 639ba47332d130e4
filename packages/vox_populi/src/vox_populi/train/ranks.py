"""The processes that share a run, as the engine sees them; one alone is the simplest case."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Ranks(Protocol):
    """All processes of a run; each calls the same functions in the same order."""

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        ...

    @property
    def size(self) -> int:
        """Number of processes."""
        ...

    @property
    def in_step(self) -> bool:
        """Whether every process has to compute the same number of forward passes."""
        ...

    def add(self, part: Tensor) -> Tensor:
        """Add the vectors of all processes, in the order of `addition_tree`; all get the sum.

        Args:
            part: This process's, on the device of what is trained; its last `size` elements are
                zero and left to the processes, to tell each other that they were asked to stop.
        """
        ...

    def collect(self, values: Sequence[float]) -> list[list[float]]:
        """The numbers of every process, each with as many as this one; in their order."""
        ...

    def require_same(self, parameters: Sequence[Tensor], step: int) -> None:
        """Compare what is trained with the other processes.

        Raises:
            RunFailedError: When it differs.
        """
        ...


class _Alone:
    """The only process of a run: there is nobody to ask."""

    rank, size, in_step = 0, 1, False

    def add(self, part: Tensor) -> Tensor:
        return part

    def collect(self, values: Sequence[float]) -> list[list[float]]:
        return [list(values)]

    def require_same(self, parameters: Sequence[Tensor], step: int) -> None:
        pass


ALONE: Ranks = _Alone()
