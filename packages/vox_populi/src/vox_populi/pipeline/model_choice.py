"""Which model is meant: a base or a merged one, or a base with an adapter of whatever origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from vox_populi.adapters.header import Quantization
from vox_populi.adapters.peft.adapter import read_peft_adapter
from vox_populi.adapters.peft.config import read_peft_config
from vox_populi.errors import ConfigError
from vox_populi.hf.embedded import EMBEDDED_NAME, embedded_model_dir
from vox_populi.hf.inventory import ModelInventory, base_digest, read_inventory
from vox_populi.hf.keymap import AdapterModule, adapter_modules
from vox_populi.hf.model_place import is_gguf
from vox_populi.merge.merged_file import MERGED_FILE, read_merged_file
from vox_populi.operator_messages import run as say_use
from vox_populi.operator_messages import usage as say_usage
from vox_populi.pipeline.adapter_base import base_folder, fitting_modules, require_base
from vox_populi.pipeline.adapter_choice import adapter_path, hint_of_run
from vox_populi.pipeline.own_adapter import read_language_adapter
from vox_populi.pipeline.trained_text import TrainedText, text_of_receipt
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_tensor.lora_spec import LoraSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenAdapter:
    """An adapter that fits its base."""

    where: Path
    lora: LoraSpec
    modules: tuple[AdapterModule, ...]
    tensors: Mapping[str, Tensor]
    """`<module>.lora_A` `[R, I]` and `<module>.lora_B` `[O, R]`, float32, on the CPU."""
    quantization: Quantization | None = None
    """How the base was held in training; `None` for as it is stored."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenModel:
    """A base or merged model, and perhaps an adapter on it."""

    folder: Path | None
    """Where its tokenizer is; `None` for the embedded base."""
    inventory: ModelInventory
    adapter: ChosenAdapter | None = None
    text: TrainedText | None = None
    """How it was trained; `None` for a base, and for an adapter of another program."""


def choose_model(choice: WeightsChoice) -> ChosenModel:
    """Find all of it and check that it belongs together.

    Raises:
        ConfigError: For more than one adapter, or a PEFT folder without its base.
        ArtifactError: For an adapter that cannot be read or does not fit.
        ModelError: For a base folder that cannot be used.
    """
    named = [
        flag
        for flag, value in (
            ("--run", choice.run),
            ("--checkpoint", choice.checkpoint),
            ("--adapter", choice.adapter),
        )
        if value is not None
    ]
    if len(named) > 1:
        raise ConfigError(say_usage.sources_conflict(named))
    if choice.adapter is not None:
        return _with_peft_adapter(choice.adapter, choice.model_dir)
    path = adapter_path(choice)
    return _without_adapter(choice.model_dir) if path is None else _with_own_adapter(path, choice)


def _without_adapter(model: Path | None) -> ChosenModel:
    if model is None:
        return ChosenModel(folder=None, inventory=read_inventory(embedded_model_dir()))
    is_merged = model.is_file() and not is_gguf(model)
    file = model if is_merged else model / MERGED_FILE
    if file.is_file():
        merged = read_merged_file(file)
        text = TrainedText.of_adapter(merged.adapter, str(file))
        return ChosenModel(folder=file.parent, inventory=merged.inventory, text=text)
    inventory = read_inventory(model, allow_nf4=True)
    return ChosenModel(folder=model, inventory=inventory, text=text_of_receipt(model))


def _with_own_adapter(path: Path, choice: WeightsChoice) -> ChosenModel:
    file = read_language_adapter(path)
    folder = base_folder(choice.model_dir or hint_of_run(path), path, file.header)
    is_quantized = file.header.quantization is not None
    inventory = read_inventory(folder or embedded_model_dir(), allow_nf4=is_quantized)
    require_base(inventory, base_digest(inventory), file.header, str(path))
    adapter = ChosenAdapter(
        where=path,
        lora=file.header.lora,
        modules=fitting_modules(inventory, file.header, str(path)),
        tensors=file.tensors,
        quantization=file.header.quantization,
    )
    text = TrainedText.of_adapter(file.header, str(path))
    return ChosenModel(folder=folder, inventory=inventory, adapter=adapter, text=text)


def _with_peft_adapter(path: Path, model_dir: Path | None) -> ChosenModel:
    if model_dir is None and read_peft_config(path).base_name != EMBEDDED_NAME:
        raise ConfigError(say_use.adapter_needs_model(str(path)))
    inventory = read_inventory(model_dir or embedded_model_dir(), allow_nf4=True)
    found = read_peft_adapter(path, inventory.config)
    known = {module.ours: module for module in adapter_modules(inventory.config)}
    adapter = ChosenAdapter(
        where=path,
        lora=found.lora,
        modules=tuple(known[module.ours] for module in found.modules),
        tensors=found.tensors,
        notes=(*found.notes, say_use.note_layout_not_known(str(path))),
    )
    return ChosenModel(folder=model_dir, inventory=inventory, adapter=adapter)
