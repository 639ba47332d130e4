"""One user seed, many independent streams: changing how often one is drawn shifts no other."""

from __future__ import annotations

import hashlib
from enum import StrEnum

import torch


class Stream(StrEnum):
    """The purposes of random streams."""

    INIT = "init"
    SHUFFLE = "shuffle"
    DROPOUT = "dropout"


def stream_seed(seed: int, stream: Stream, index: int = 0) -> int:
    """A 63-bit seed from the user's seed, the stream's name and an index (such as the epoch)."""
    digest = hashlib.sha256(f"{seed}/{stream.value}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stream_generator(
    seed: int, stream: Stream, index: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A generator at the start of a stream."""
    return torch.Generator(device=device).manual_seed(stream_seed(seed, stream, index))
