"""What the forward pass keeps of a block for its backward pass, and what is computed again.

The backward pass of a part that is computed again first runs the part's forward pass a second
time, from the same input and the same states of the random streams. So it reads the same numbers
as if they had been kept, and the gradients are the same bit for bit.

torch's own `torch.utils.checkpoint` would do for the first half of this, but loads torch's
compiler for it (seconds and 80 MiB), cannot know that the product at a block's end is not needed
again, and replays only torch's global random stream. Shape letters: T tokens, D model width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


class ActivationMemory(StrEnum):
    """What is kept of a block; the gradients are the same."""

    NONE = "none"
    """No memory is saved: everything that the backward pass reads is kept."""
    SELECTIVE = "selective"
    """The MLP keeps its input and computes the rest again; attention is kept."""
    FULL = "full"
    """A block keeps its input and computes everything else again."""
    OFFLOAD = "offload"
    """Like `FULL`, with the inputs in the host's memory."""


@dataclass(frozen=True, slots=True)
class Activations:
    """How a model keeps its activations."""

    memory: ActivationMemory = ActivationMemory.NONE
    streams: tuple[torch.Generator, ...] = ()
    """The random streams that a block draws from."""

    @property
    def repeats_mlp(self) -> bool:
        """Whether the MLP alone is computed again."""
        return self.memory is ActivationMemory.SELECTIVE

    @property
    def repeats_block(self) -> bool:
        """Whether a block is computed again as a whole."""
        return self.memory in (ActivationMemory.FULL, ActivationMemory.OFFLOAD)


class Part(Protocol):
    """A part of a model that can be computed again."""

    def __call__(self, x_TD: Tensor, *, is_repeat: bool = False) -> Tensor:
        """Map `[T, D]`; with `is_repeat` only what it saves for its backward pass is used."""


def repeated(part: Part, x_TD: Tensor, activations: Activations) -> Tensor:
    """Apply a part and keep nothing for its backward pass but its input.

    Args:
        part: Depends on nothing but its argument, tensors that stay the same until the backward
            pass, and the streams.
        x_TD: The input.
        activations: Where to keep the input; the streams.
    """
    repeat = _Repeat(part, x_TD, activations)
    with saved_tensors_hooks(repeat.count, repeat.find):
        return part(x_TD)


class _Repeat:
    """One application of a part, between its forward and its backward pass.

    Autograd passes every tensor that the part saves to `count` and keeps the number that it gets
    for it. When the backward pass asks `find` for the first of them, all are computed.
    """

    def __init__(self, part: Part, x_TD: Tensor, activations: Activations) -> None:
        self._part = part
        self._device, self._needs_dx = x_TD.device, x_TD.requires_grad
        is_elsewhere = activations.memory is ActivationMemory.OFFLOAD
        self._x_TD = _on_host(x_TD.detach()) if is_elsewhere else x_TD.detach()
        self._streams = activations.streams
        self._states = [stream.get_state() for stream in self._streams]
        self._n_saved = 0
        self._found: dict[int, Tensor] = {}

    def count(self, tensor: Tensor) -> int:
        """Number a tensor that the forward pass would have kept."""
        del tensor
        self._n_saved += 1
        return self._n_saved - 1

    def find(self, number: int) -> Tensor:
        """The same tensor, computed again. It is asked for once, and not held afterwards."""
        if number not in self._found:
            self._compute()
        return self._found.pop(number)

    def _compute(self) -> None:
        saved: list[Tensor] = []
        x_TD = self._x_TD.to(self._device, non_blocking=True).detach()
        x_TD.requires_grad_(self._needs_dx)
        # Nothing is read back: the graph of this pass has no backward pass.
        hooks = saved_tensors_hooks(lambda tensor: saved.append(tensor.detach()), lambda _: x_TD)
        with _replayed(self._streams, self._states), torch.enable_grad(), hooks:
            self._part(x_TD, is_repeat=True)
        assert len(saved) == self._n_saved, "a repeated pass saves what the first one saved"
        self._found = dict(enumerate(saved))


def _on_host(x_TD: Tensor) -> Tensor:
    """A copy in the host's memory; on the host the tensor itself."""
    if x_TD.device.type == "cpu":
        return x_TD
    # In order with what the device computes, so nobody waits: the memory of x is used again only
    # by what comes after the copy.
    is_pinned = x_TD.is_cuda
    host_TD = torch.empty(x_TD.shape, dtype=x_TD.dtype, device="cpu", pin_memory=is_pinned)
    return host_TD.copy_(x_TD, non_blocking=is_pinned)


@contextmanager
def _replayed(streams: Sequence[torch.Generator], states: Sequence[Tensor]) -> Iterator[None]:
    """Let the streams draw from earlier states, and then continue where they are now."""
    current = [stream.get_state() for stream in streams]
    try:
        for stream, state in zip(streams, states, strict=True):
            stream.set_state(state)
        yield
    finally:
        for stream, state in zip(streams, current, strict=True):
            stream.set_state(state)
