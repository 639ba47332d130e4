"""Choosing the model: a base, a merged one, or a base with an adapter of any origin."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from vox_populi.adapters.base import fitting_modules, leaves_experts, require_base, version_notes
from vox_populi.adapters.peft.adapter import read_peft_adapter
from vox_populi.adapters.peft.config import PEFT_WEIGHTS_FILE, read_peft_config
from vox_populi.errors import ArtifactError, ConfigError
from vox_populi.hf.embedded import EMBEDDED_NAME, embedded_model_dir
from vox_populi.hf.inventory import ModelInventory, base_digest, read_inventory
from vox_populi.hf.model_place import is_gguf
from vox_populi.merge.merged_file import MERGED_FILE, read_merged_file
from vox_populi.operator_messages import run as say_run
from vox_populi.pipeline.trained_text import TrainedText, text_of_receipt
from vox_populi.pipeline.weights_choice import WeightsChoice, with_source
from vox_populi.runs.adapter_place import AdapterForm, AdapterPlace, require_run_adapter
from vox_populi.runs.find_adapter import FoundAdapter, find_own_adapter


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenModel:
    """A base or merged model, and perhaps an adapter on it."""

    folder: Path | None
    """Folder of its tokenizer; `None` for the embedded base."""
    inventory: ModelInventory
    adapter: FoundAdapter | None = None
    text: TrainedText | None = None
    """Text format of its training; `None` for a base, and for an adapter of another program."""


def choose_model(choice: WeightsChoice) -> ChosenModel:
    """Find all parts and check that they belong together.

    Raises:
        ConfigError: For more than one adapter, or a PEFT folder without its base.
        ArtifactError: For an adapter that cannot be read or does not fit.
        ModelError: For a base folder that cannot be used.
    """
    choice = with_source(choice)
    if choice.adapter is not None:
        return _with_peft_adapter(choice.adapter, choice.model_dir)
    if choice.run is not None:
        return _with_own_adapter(require_run_adapter(choice.run), choice.model_dir)
    if choice.checkpoint is not None:
        return _with_own_adapter(choice.checkpoint, choice.model_dir)
    return _without_adapter(choice.model_dir)


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


def _with_own_adapter(path: Path, model_dir: Path | None) -> ChosenModel:
    found = find_own_adapter(path, model_dir)
    header, where = found.adapter.header, found.where
    if header.graph.is_proxy:
        raise ArtifactError(say_run.proxy_is_no_language_model(header.graph).at(where))
    folder = found.base_folder()
    is_quantized = header.quantization is not None
    inventory = read_inventory(
        folder or embedded_model_dir(),
        allow_nf4=is_quantized,
        source=header.source,
        leave_experts=leaves_experts(header),
    )
    require_base(inventory, base_digest(inventory), header, where)
    fitting_modules(inventory, header, where)
    text = TrainedText.of_adapter(header, where)
    found = replace(found, notes=(*found.notes, *version_notes(inventory, header)))
    return ChosenModel(folder=folder, inventory=inventory, adapter=found, text=text)


def _with_peft_adapter(path: Path, model_dir: Path | None) -> ChosenModel:
    if model_dir is None and read_peft_config(path).base_name != EMBEDDED_NAME:
        raise ConfigError(say_run.ADAPTER_NEEDS_MODEL.at(str(path)))
    inventory = read_inventory(model_dir or embedded_model_dir(), allow_nf4=True)
    adapter, notes = read_peft_adapter(path, inventory.config, inventory)
    found = FoundAdapter(
        place=AdapterPlace(AdapterForm.PEFT, path / PEFT_WEIGHTS_FILE),
        adapter=adapter,
        base=model_dir,
        notes=(*notes, say_run.note_layout_not_known(str(path))),
    )
    return ChosenModel(folder=model_dir, inventory=inventory, adapter=found)
