"""Which weights to run, and how text becomes ids. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vox_populi.contract.choices import ComputeDtype, DeviceKind, TokenizerKind
from vox_populi.data.training_text import ChatTemplate


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsChoice:
    """Which weights to run and how text becomes ids; a run supplies what is left out."""

    model_dir: Path | None = None
    """Base folder. With a run or checkpoint: where its base is, if not where it was."""
    run: Path | None = None
    """A run folder: its base with its final adapter."""
    checkpoint: Path | None = None
    """An adapter file, `model_final.bin` or alike, or a checkpoint folder of a run, with its
    base."""
    adapter: Path | None = None
    """An adapter folder as PEFT writes it; its base is `model_dir`."""
    tokenizer: TokenizerKind | None = None
    template: ChatTemplate | None = None
    system_prompt: str | None = None
    force_template: bool = False
    """Use template and system prompt also where the adapter was trained with others."""
    device: DeviceKind = DeviceKind.BEST
    dtype: ComputeDtype = ComputeDtype.AUTO
    threads: int | None = None
