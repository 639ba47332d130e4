"""Adapters whose base another version of transformers computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from vox_populi.adapters.base import version_notes
from vox_populi.adapters.header import AdapterHeader
from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.model_config import ModelConfig, read_model_config
from vox_populi.hf.module_table import ModuleTable
from vox_tensor.lora_spec import LoraSpec

TABLE = ModuleTable(
    class_name="QwenForCausalLM",
    version="5.24.1",
    embed="",
    blocks="",
    keys=(),
    modules=(),
    layer_kinds=(),
)


def notes(config: ModelConfig, trained: str) -> list[str]:
    inventory = ModelInventory(
        model_dir=Path(),
        config=config,
        tensors=MappingProxyType({}),
        shards=(),
        total_bytes=0,
        tied_head=False,
    )
    header = AdapterHeader.of_foreign(LoraSpec(rank=1, alpha=1.0), (), None)
    return list(version_notes(inventory, replace(header, transformers=trained)))


def test_only_another_minor_version_is_worth_a_note() -> None:
    native = read_model_config(embedded_model_dir())
    foreign = replace(native, modules=TABLE)
    (note,) = notes(foreign, "5.23.2")
    assert "5.23.2" in note
    assert "5.24.1" in note
    assert notes(foreign, "5.24.0") == []
    assert notes(foreign, "") == []
    assert notes(native, "5.23.2") == []
