"""What the pipeline is asked besides training: frozen values, no behaviour, no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vox_populi.contract.choices import ComputeDtype, DeviceKind, TokenizerKind
from vox_populi.data.dataset import OnBadRow, OnLongRow
from vox_populi.data.training_text import ChatTemplate


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What does not change the result of a run."""

    force: bool = False
    """Move an occupied output folder aside (`<name>.old-1`, …) and start anew."""
    log_every: int = 20
    """Optimizer steps between two `step` events."""

    def __post_init__(self) -> None:
        if self.log_every < 1:
            message = f"log_every must be at least 1, got {self.log_every}"
            raise ValueError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewRequest:
    """Rows to show exactly as the trainer would see them."""

    data: Path
    model_dir: Path | None = None
    """Folder whose tokenizer is used; `None` for the embedded base."""
    tokenizer: TokenizerKind | None = None
    """`None`: `vox` for the embedded base, else `hf`."""
    count: int = 3
    template: ChatTemplate = ChatTemplate.CHATML
    system_prompt: str | None = None
    seq_len: int = 512
    min_rating: int | None = 3
    context_filter: str | None = None
    on_bad_row: OnBadRow = OnBadRow.ERROR
    on_long_row: OnLongRow = OnLongRow.TRUNCATE


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsChoice:
    """Which weights to run and how text becomes ids; a run supplies what is left out."""

    model_dir: Path | None = None
    """Base folder. With a run or checkpoint: where its base is, if not where it was."""
    run: Path | None = None
    """A run folder: its base with its final adapter."""
    checkpoint: Path | None = None
    """An adapter file, `model_final.bin` or alike, with its base."""
    tokenizer: TokenizerKind | None = None
    template: ChatTemplate | None = None
    system_prompt: str | None = None
    device: DeviceKind = DeviceKind.BEST
    dtype: ComputeDtype = ComputeDtype.AUTO
    threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalRequest:
    """A file of rows to measure a model on."""

    data: Path
    weights: WeightsChoice = field(default_factory=WeightsChoice)
    seq_len: int | None = None
    """Longest row; `None`: the run's, or the trainer's default for a base model."""
    min_rating: int | None = None
    context_filter: str | None = None
    on_bad_row: OnBadRow = OnBadRow.ERROR
    on_long_row: OnLongRow = OnLongRow.TRUNCATE


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """Prompts to continue."""

    prompts: tuple[str, ...]
    weights: WeightsChoice = field(default_factory=WeightsChoice)
    max_new_tokens: int = 128
    temperature: float = 0.0
    """0 is greedy."""
    top_k: int | None = None
    top_p: float = 1.0
    seed: int = 0
    """Of sampling; prompt `i` draws from its own stream, whatever stands beside it."""
