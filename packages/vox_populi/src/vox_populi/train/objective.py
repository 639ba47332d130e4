"""The interface between kernel and engine: a loss, its parameters, and a way to read them out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor, nn

from vox_tensor.records import EncodedRow


class Objective(Protocol):
    """A trainable model as the engine sees it, independent of the kernel."""

    @property
    def device(self) -> torch.device:
        """Device for batches."""
        ...

    @property
    def share_prefixes(self) -> bool:
        """Whether tokens that rows of a pass begin with alike are computed once."""
        ...

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """The parameters the optimizer updates, with the names and in the order of `snapshot`."""
        ...

    def streams(self) -> Mapping[str, torch.Generator]:
        """Every random generator used in training, by name."""
        ...

    def loss_sums(self, rows: Sequence[EncodedRow], window_tokens: int) -> Iterator[Tensor]:
        """The summed loss of each forward pass over some rows, scalars, computed when asked for.

        Args:
            rows: Of one optimizer step, or of a part of an evaluation.
            window_tokens: Most tokens of a forward pass.
        """
        ...

    def saved_tokens(self, rows: Sequence[EncodedRow], window_tokens: int) -> int:
        """Tokens of the rows that `loss_sums` does not compute, since other rows have them too."""
        ...

    def normaliser(self, rows: Sequence[EncodedRow]) -> float:
        """What the sum of their losses is divided by, so that it is a mean."""
        ...

    def key_noise(self, step: int, number: int) -> None:
        """Let dropout of the passes to come depend on nothing but the seed and these.

        Args:
            step: Optimizer steps done.
            number: Of the forward pass in its step.
        """
        ...

    def set_training(self, *, active: bool) -> None:
        """Turn dropout on or off."""
        ...

    def adapters_off(self) -> AbstractContextManager[None]:
        """A block in which the model computes what it would compute without what is trained."""
        ...

    def snapshot(self) -> dict[str, Tensor]:
        """Float32 CPU copies of what is trained, by name."""
        ...

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put a snapshot back."""
        ...
