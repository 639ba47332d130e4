"""PEFT adapter folders: `adapter_config.json` and `adapter_model.safetensors`, both ways.

Names in the container are `base_model.model.<module path>.lora_A.weight` `[R, I]` and
`.lora_B.weight` `[O, R]`; the update of the weight is scale x B A.
Shape letters: R rank, I input features, O output features.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vox_populi.adapters.adapter import Adapter
from vox_populi.adapters.header import AdaptedModule, AdapterHeader, ImportedText
from vox_populi.adapters.peft.base_tables import require_base_tables
from vox_populi.adapters.peft.config import (
    PEFT_WEIGHTS_FILE,
    PeftConfig,
    has_taken_name,
    names_tensors,
    peft_config_text,
    read_peft_config,
    target_names,
)
from vox_populi.adapters.peft.expert_tensors import stacked_experts
from vox_populi.adapters.peft.tensors import check_peft_tensors, peft_keys, stored_tables
from vox_populi.containers.file_ranges import read_range
from vox_populi.containers.safetensors_header import SafetensorsHeader, read_header
from vox_populi.containers.tensor_container import bytes_of, container_chunks
from vox_populi.containers.tensor_reader import not_finite, read_tensors
from vox_populi.containers.torch_dtypes import TORCH_DTYPE_OF
from vox_populi.errors import ArtifactError, ModelError
from vox_populi.files.known_names import PEFT_CONFIG_FILE
from vox_populi.files.strict_json import parse_json_object
from vox_populi.files.whole_file import Chunk
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import AdapterModule, adapter_modules
from vox_populi.hf.model_config import ModelConfig
from vox_populi.operator_messages import export as say_export
from vox_populi.operator_messages.tensors import LORA_BIN, tensor_not_finite
from vox_populi.operator_messages.wording import capped
from vox_tensor.lora_spec import LoraSpec

PEFT_METADATA = {"format": "pt"}

_HALVES = (".lora_A", ".lora_B")
_LENGTH_BYTES = 8


def peft_files(
    lora: LoraSpec,
    modules: Sequence[AdapterModule],
    tensors: Mapping[str, Tensor],
    config: ModelConfig,
    base_name: str,
) -> dict[str, list[Chunk]]:
    """Both files of a PEFT folder; the same adapter always gives the same bytes.

    Args:
        lora: LoRA settings for the reader.
        modules: The adapted projections.
        tensors: By our names; those of the modules are written, with their dtype.
        config: The base's config, to find target names that select only these modules.
        base_name: Name or folder under which PEFT finds the base.
    """
    every = [module.theirs for module in adapter_modules(config)]
    if config.outer is not None:
        # What is around the text model has projections of the same names.
        every += [path.removeprefix(config.outer.prefix) for path in every]
    ranks: dict[str, int] = {}
    named: dict[str, Tensor] = {}
    if names_tensors(config, modules):
        stacked = stacked_experts(config, modules, tensors, lora.rank)
        named = dict(stacked.tensors)
        modules = [module for module in modules if not module.in_expert]
        taken = [module.theirs for module in modules if has_taken_name(config, module)]
        ranks = {f"{name}.weight": lora.rank for name in target_names(taken, every)}
        ranks |= stacked.ranks
    by_name = [
        module.theirs for module in modules if not (ranks and has_taken_name(config, module))
    ]
    targets = target_names(by_name, every)
    named |= {
        key: tensors[module.ours + half]
        for module in modules
        for key, half in zip(peft_keys(module), _HALVES, strict=True)
    }
    text = peft_config_text(lora, modules, targets, base_name, parameters=ranks)
    return {
        PEFT_CONFIG_FILE: [text.encode()],
        PEFT_WEIGHTS_FILE: container_chunks(named, PEFT_METADATA),
    }


def imported_files(
    imported: ImportedText, modules: Sequence[AdapterModule], tensors: Mapping[str, Tensor]
) -> dict[str, list[Chunk]] | None:
    """The two files as before the import, or `None` if they would not be exact."""
    preamble = imported.container.encode()
    try:
        entries = parse_json_object(preamble, "header")
        weights = list(_stored_again(entries, modules, tensors))
    except (ModelError, ValueError, KeyError, TypeError):
        # Not the header of these tensors: whoever wrote it did not import them.
        return None
    length = struct.pack("<Q", len(preamble))
    return {
        PEFT_CONFIG_FILE: [imported.adapter_config.encode()],
        PEFT_WEIGHTS_FILE: [length, preamble, *weights],
    }


def _stored_again(
    entries: Mapping[str, Any], modules: Sequence[AdapterModule], tensors: Mapping[str, Tensor]
) -> Iterator[Chunk]:
    """The numbers in the order and with the dtypes of a container's header."""
    ours = {
        key: tensors[module.ours + half]
        for module in modules
        for key, half in zip(peft_keys(module), _HALVES, strict=True)
    }
    stored = {name: entry for name, entry in entries.items() if name != "__metadata__"}
    if stored.keys() != ours.keys():
        raise KeyError
    start = 0
    for name in sorted(stored, key=lambda each: int(stored[each]["data_offsets"][0])):
        entry, tensor = stored[name], ours[name]
        narrow = tensor.to(TORCH_DTYPE_OF[entry["dtype"]]).contiguous()
        end = start + narrow.numel() * narrow.element_size()
        is_same = list(narrow.shape) == entry["shape"] and entry["data_offsets"] == [start, end]
        if not is_same or not torch.equal(narrow.float(), tensor):
            raise ValueError
        start = end
        yield bytes_of(narrow)


def read_peft_adapter(
    folder: Path, config: ModelConfig, base: ModelInventory | None = None
) -> tuple[Adapter, tuple[str, ...]]:
    """Read a PEFT folder for a base, and notes; all of it must fit, and nothing may be left over.

    The header keeps what is needed to write the same two files again, unless projections have
    ranks or scales of their own: these become one rank and one scale with the same updates.

    Args:
        folder: Folder with `adapter_config.json` and `adapter_model.safetensors`.
        config: The base's config.
        base: The base, with which tables of it that the folder has are compared; `None` refuses
            such tables.

    Raises:
        ArtifactError: For settings we cannot represent, each by name; for tensors that are
            missing, unexpected, misshaped or not finite, each with the closest name.
        ModelError: When the base's tables cannot be read.
    """
    settings = read_peft_config(folder)
    path = folder / PEFT_WEIGHTS_FILE
    container, header_text = _read_container(folder, path)
    tables = {} if base is None else stored_tables(container.tensors, config)
    own = {name: info for name, info in container.tensors.items() if name not in tables}
    modules = check_peft_tensors(settings, own, config, str(path))
    if base is not None:
        require_base_tables(path, container.tensors, tables, base)
    tensors = _read_tensors(path, container, modules)
    notes = [] if settings.names_its_modules else [say_export.NOTE_TARGETS_NOT_COMPARED]
    lora, is_even = _one_spec(settings, modules)
    if not is_even:
        tensors = _with_one_spec(tensors, settings, modules, lora)
        notes.append(say_export.note_ranks_made_equal(lora.rank))
    imported = ImportedText(adapter_config=settings.text, container=header_text)
    header = AdapterHeader.of_foreign(
        lora,
        map(AdaptedModule.of, modules),
        settings.base_name,
        imported=imported if is_even else None,
    )
    return Adapter(header, tensors), tuple(notes)


def _one_spec(settings: PeftConfig, modules: Sequence[AdapterModule]) -> tuple[LoraSpec, bool]:
    """The settings of the projection with the largest rank, and whether all have them."""
    specs = [settings.spec_of(module) for module in modules]
    largest = max(specs, key=lambda spec: spec.rank)
    return largest, all(spec == largest for spec in specs)


def _with_one_spec(
    tensors: Mapping[str, Tensor],
    settings: PeftConfig,
    modules: Sequence[AdapterModule],
    lora: LoraSpec,
) -> dict[str, Tensor]:
    """The same updates with one rank and scale: A and B padded with zeros, B scaled, in f32."""
    found: dict[str, Tensor] = {}
    for module in modules:
        spec = settings.spec_of(module)
        name_a, name_b = (module.ours + half for half in _HALVES)
        a_RI, b_OR = tensors[name_a], tensors[name_b]
        found[name_a] = torch.zeros(lora.rank, a_RI.shape[1])
        found[name_a][: spec.rank] = a_RI
        found[name_b] = torch.zeros(b_OR.shape[0], lora.rank)
        found[name_b][:, : spec.rank] = b_OR * (spec.scale / lora.scale)
    return found


def _read_container(folder: Path, path: Path) -> tuple[SafetensorsHeader, str]:
    if not path.is_file():
        raise ArtifactError(say_export.not_a_peft_folder(PEFT_WEIGHTS_FILE).at(str(folder)))
    try:
        container = read_header(path)
        text = read_range(path, _LENGTH_BYTES, container.data_start - _LENGTH_BYTES)
    except ModelError as error:
        raise ArtifactError(*error.problems) from error
    return container, text.decode("utf-8")


def _read_tensors(
    path: Path, container: SafetensorsHeader, modules: Iterable[AdapterModule]
) -> dict[str, Tensor]:
    infos = {
        module.ours + half: container.tensors[key]
        for module in modules
        for key, half in zip(peft_keys(module), _HALVES, strict=True)
    }
    try:
        tensors = {name: each.float() for name, each in read_tensors(path, infos).items()}
    except ModelError as error:
        raise ArtifactError(*error.problems) from error
    if broken := not_finite(tensors):
        raise ArtifactError(*capped([tensor_not_finite(LORA_BIN, str(path), n) for n in broken]))
    return tensors
