"""The hyper-parameters of a LoRA update (Hu et al. 2021, arXiv 2106.09685). No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass

MAX_RANK = 2**16
MIN_ALPHA, MAX_ALPHA = 1e-6, 1e6
"""Bounds that keep the update's scale well within the range of float32 for any rank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSpec:
    """Rank, alpha, dropout and scale rule of a low-rank update.

    Raises:
        ValueError: For a rank outside [1, 65536], an alpha outside [1e-6, 1e6], or a
            dropout outside [0, 1).
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    """Probability of zeroing an input element of the low-rank branch, as in PEFT."""
    use_rslora: bool = False
    """Scale by alpha / sqrt(rank), not alpha / rank (Kalajdzievski 2023, arXiv 2312.03732)."""

    def __post_init__(self) -> None:
        if not 1 <= self.rank <= MAX_RANK:
            message = f"rank must be in [1, {MAX_RANK}], got {self.rank}"
            raise ValueError(message)
        if not MIN_ALPHA <= self.alpha <= MAX_ALPHA:
            message = f"alpha must be in [{MIN_ALPHA:g}, {MAX_ALPHA:g}], got {self.alpha}"
            raise ValueError(message)
        if not 0.0 <= self.dropout < 1.0:
            message = f"dropout must be in [0, 1), got {self.dropout}"
            raise ValueError(message)

    @property
    def scale(self) -> float:
        """Factor of the product B A."""
        return self.alpha / (math.sqrt(self.rank) if self.use_rslora else self.rank)


def lora_shapes(
    in_features: int, out_features: int, rank: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Shapes of A `[R, I]` and B `[O, R]` of one adapted linear layer."""
    return (rank, in_features), (out_features, rank)


def lora_param_count(in_features: int, out_features: int, rank: int) -> int:
    """Number of trainable values of one adapted linear layer: A `[R, I]` plus B `[O, R]`."""
    return rank * (in_features + out_features)


@dataclass(frozen=True, slots=True)
class LoraSavings:
    """How many values train with and without LoRA on one linear layer."""

    lora: int
    full: int

    @property
    def saving_pct(self) -> float:
        """Percentage of values that need no gradient."""
        return 100.0 * (1.0 - self.lora / self.full)


def lora_memory_estimate(in_features: int, out_features: int, rank: int) -> LoraSavings:
    """Compare the trainable values of an adapted layer with those of the dense layer."""
    return LoraSavings(
        lora=lora_param_count(in_features, out_features, rank), full=in_features * out_features
    )
