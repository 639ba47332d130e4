"""The interface between kernel and engine: a loss, its parameters, and a way to read them out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from vox_tensor.collate import PackedBatch


class Objective(Protocol):
    """A trainable model as the engine sees it, independent of the kernel."""

    @property
    def device(self) -> torch.device:
        """Device for batches."""
        ...

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """The parameters the optimizer updates, with the names and in the order of `snapshot`."""
        ...

    def streams(self) -> Mapping[str, torch.Generator]:
        """Every random generator used in training, by name."""
        ...

    def loss_sum(self, batch: PackedBatch) -> Tensor:
        """Sum of the losses of the batch's supervised tokens, a scalar."""
        ...

    def set_training(self, *, active: bool) -> None:
        """Turn dropout on or off."""
        ...

    def snapshot(self) -> dict[str, Tensor]:
        """Float32 CPU copies of what is trained, by name."""
        ...

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put a snapshot back."""
        ...
