"""What both sides of a comparison start from: adapted layers, A, and the bytes of an NF4 base."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vox_populi.hf.inventory import read_inventory
from vox_populi.hf.keymap import AdapterModule, ProjectionRole, adapter_modules
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.records import EncodedRow

RATE, CLIP = 2e-4, 1.0
SPEC = LoraSpec(rank=16, alpha=32.0)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model that is ready to learn."""

    step: Callable[[Sequence[EncodedRow]], float]
    """One optimizer step on rows; its loss."""
    nf4_digest: str | None = None
    """Of the quantised base; `None` for a dense one."""
    dequantising: list[float] | None = None
    """Seconds of every dequantisation so far, where they are timed."""


def block_modules(base: Path) -> list[AdapterModule]:
    """Every linear layer of the blocks, in forward order."""
    modules = adapter_modules(read_inventory(base).config)
    return [m for m in modules if ProjectionRole.LM_HEAD not in m.roles]


def initial_factors(base: Path) -> dict[str, Tensor]:
    """The A of every adapted module by its Hugging Face path: both variants start from it."""
    generator = torch.Generator().manual_seed(1)
    return {
        m.theirs: torch.empty(SPEC.rank, m.in_features).uniform_(-0.03, 0.03, generator=generator)
        for m in block_modules(base)
    }


def digest_of(parts: Sequence[Tensor]) -> str:
    """SHA-256 over the bytes of packed codes and 8-bit magnitudes."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
