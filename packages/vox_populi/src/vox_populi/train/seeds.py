"""One user seed, many independent streams: changing how often one is drawn shifts no other."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

import torch


class Stream(StrEnum):
    """The purposes of random streams."""

    INIT = "init"
    SHUFFLE = "shuffle"
    DROPOUT = "dropout"


def stream_seed(seed: int, stream: Stream, index: int = 0) -> int:
    """A 63-bit seed from the user's seed, the stream's name and an index (such as the epoch)."""
    return _seed(f"{seed}/{stream.value}/{index}")


def stream_generator(
    seed: int, stream: Stream, index: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A generator at the start of a stream."""
    return torch.Generator(device=device).manual_seed(stream_seed(seed, stream, index))


@dataclass(slots=True)
class NoiseKey:
    """What the dropout masks of a forward pass depend on, whichever process computes it."""

    seed: int
    """The run's."""
    step: int = 0
    """Optimizer steps done."""
    number: int = 0
    """Number of the forward pass in its step."""

    def of_layer(self, layer: int) -> int:
        """The seed of one layer's mask."""
        return _seed(f"{self.seed}/{Stream.DROPOUT.value}/{self.step}/{self.number}/{layer}")


def _seed(text: str) -> int:
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
