"""Choosing weights to run and how text becomes ids. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.setting_groups import ComputeSettings
from vox_populi.data.training_text import ChatTemplate, TemplatePlace


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsChoice(ComputeSettings):
    """The weights to run and how text becomes ids; a run supplies what is omitted."""

    model_dir: Path | None = None
    """Base folder; with a run or checkpoint, its base, if it has moved."""
    run: Path | None = None
    """A run folder: its base with its final adapter."""
    checkpoint: Path | None = None
    """An adapter file, such as `model_final.bin`, or a checkpoint folder of a run; used with its
    base."""
    adapter: Path | None = None
    """A PEFT adapter folder; its base is `model_dir`."""
    tokenizer: TokenizerKind | None = None
    template: ChatTemplate | TemplatePlace | None = None
    system_prompt: str | None = None
    force_template: bool = False
    """Use template and system prompt even if the adapter was trained with different ones."""
