"""Choosing weights to run and how text becomes ids. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.download_choice import download_setting
from vox_populi.contract.setting import setting
from vox_populi.contract.setting_groups import ComputeSettings
from vox_populi.contract.template_word import TEMPLATE_METAVAR, parse_template
from vox_populi.data.training_text import ChatTemplate, TemplatePlace
from vox_populi.errors import ConfigError
from vox_populi.hf.hub_name import ModelParts
from vox_populi.operator_messages import usage as say
from vox_populi.runs.adapter_place import AdapterForm, adapter_at
from vox_populi.runs.run_dir import run_files


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsChoice(ComputeSettings):
    """The weights to run and how text becomes ids; a run supplies what is omitted."""

    source: Path | None = setting(
        None,
        "Run, checkpoint, adapter or model; the embedded base if absent.",
        argument="RUN|MODEL",
        model=ModelParts.ALL,
    )
    """`with_source` tells which of the following fields it is."""
    model_dir: Path | None = setting(
        None,
        "Model folder, merged or not; with an adapter, its base.",
        name="model",
        model=ModelParts.ALL,
    )
    """Base folder; with a run or checkpoint, its base, if it has moved."""
    allow_download: bool = download_setting()
    run: Path | None = setting(None, "Run folder; uses its base and final adapter.", metavar="RUN")
    checkpoint: Path | None = setting(
        None, "Adapter file of a run, or one of its checkpoint folders.", metavar="FILE|DIR"
    )
    """An adapter file, such as `model_final.bin`, or a checkpoint folder of a run; used with its
    base."""
    adapter: Path | None = setting(None, "PEFT adapter folder, for the base given by --model.")
    tokenizer: TokenizerKind | None = setting(
        None, "Vocabulary.", default_text="the run's or model's"
    )
    template: ChatTemplate | TemplatePlace | None = setting(
        None,
        "Template of a row.",
        parse=parse_template,
        metavar=TEMPLATE_METAVAR,
        default_text="the run's, else auto",
    )
    system_prompt: str | None = setting(
        None, "System prompt for rows without one.", default_text="the run's"
    )
    force_template: bool = setting(
        False, "Allow a template or system prompt that differs from training."
    )

    def __post_init__(self) -> None:
        named = [f"--{name}" for name in _ADAPTERS if getattr(self, name) is not None]
        if len(named) + (self.source is not None) > 1:
            own = [] if self.source is None else [str(self.source)]
            raise ConfigError(say.sources_conflict((*own, *named)))


_ADAPTERS = ("run", "checkpoint", "adapter")


def with_source(choice: WeightsChoice) -> WeightsChoice:
    """The choice with its source in the field that it belongs to.

    Raises:
        ConfigError: For two model folders.
    """
    source = choice.source
    if source is None:
        return choice
    kind = _kind_of(source)
    if kind == "model_dir" and choice.model_dir is not None:
        raise ConfigError(say.sources_conflict((str(source), "--model")))
    placed: dict[str, Any] = {kind: source}
    return replace(choice, source=None, **placed)


def _kind_of(source: Path) -> str:
    """The field that a path belongs in."""
    if source.is_dir() and run_files(source):
        return "run"
    place = adapter_at(source) if source.exists() else None
    if place is None or (place.form is AdapterForm.V3 and source.is_file()):
        return "model_dir" if place is None else "checkpoint"
    return "adapter" if place.form is AdapterForm.PEFT else "checkpoint"
