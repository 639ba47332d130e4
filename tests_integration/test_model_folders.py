"""Folders that transformers wrote are read as they were meant, in every spelling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoConfig, PreTrainedModel

from tests_integration.sparse_models import write_sparse_70b
from tests_integration.tiny_mixtures import MIXTURES
from tests_integration.tiny_models import (
    CONFIGS,
    FAMILY_CASES,
    IM_END,
    build_tiny_model,
    respell_for_transformers_4,
    write_tiny_model,
    write_tiny_tokenizer,
)
from vox_populi.hf.hf_tokenizer import load_hf_tokenizer
from vox_populi.hf.inventory import read_inventory
from vox_populi.hf.keymap import adapter_modules, tensor_keys
from vox_populi.hf.model_config import ModelConfig, parse_model_config, read_model_config

WITHOUT_EXPERTS = [name for name in CONFIGS if not name.startswith(MIXTURES)]
"""Experts have other names in transformers 5 than in folders: `tier_a/test_expert_parity.py`."""


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_of_both_transformers_versions_mean_the_same(tmp_path: Path, name: str) -> None:
    CONFIGS[name]().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(path.read_text(encoding="utf-8").replace("{", '{"dtype": "bfloat16",', 1))
    new = read_model_config(tmp_path)
    respell_for_transformers_4(tmp_path)
    text = path.read_text(encoding="utf-8")
    assert "torch_dtype" in text
    assert "rope_parameters" not in text
    assert read_model_config(tmp_path) == new
    assert new.dtype == "bfloat16"


@pytest.mark.parametrize("name", WITHOUT_EXPERTS)
@pytest.mark.requirement("model-folders")
def test_the_inventory_holds_every_parameter_of_the_model(tmp_path: Path, name: str) -> None:
    model = write_tiny_model(tmp_path, name)
    inventory = read_inventory(tmp_path)
    parameters = {key: tuple(value.shape) for key, value in model.named_parameters()}
    assert {key: info.shape for key, info in inventory.tensors.items()} == parameters
    assert inventory.tied_head == model.config.tie_word_embeddings
    assert _dimensions(inventory.config) == _their_dimensions(model)


@pytest.mark.parametrize("name", ["llama_tied", "phi3_longrope_tied", "qwen2_tied"])
def test_a_folder_without_its_head_and_prefix_is_the_same_model(tmp_path: Path, name: str) -> None:
    model = write_tiny_model(tmp_path / "whole", name)
    inner_model: Any = model.base_model
    inner_model.save_pretrained(tmp_path / "inner")
    whole, inner = read_inventory(tmp_path / "whole"), read_inventory(tmp_path / "inner")
    assert not any(info.name.startswith("model.") for info in inner.tensors.values())
    shapes = {key: info.shape for key, info in whole.tensors.items()}
    assert {key: info.shape for key, info in inner.tensors.items()} == shapes
    assert inner.tied_head


def _dimensions(config: ModelConfig) -> tuple[object, ...]:
    return (config.sliding_window, config.sliding_layers, config.n_layers, config.vocab_size)


def _their_dimensions(model: PreTrainedModel) -> tuple[object, ...]:
    """What transformers made of the same config, without reading its file."""
    config = model.config
    types = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    slides = (
        tuple(kind == "sliding_attention" for kind in types)
        if types
        else (window is not None,) * config.num_hidden_layers
    )
    return (window if any(slides) else None, slides, config.num_hidden_layers, config.vocab_size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", FAMILY_CASES)
def test_shards_hold_what_one_file_holds(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    write_tiny_model(tmp_path / "one", name, dtype=dtype)
    write_tiny_model(tmp_path / "many", name, dtype=dtype, sharded=True)
    one, many = read_inventory(tmp_path / "one"), read_inventory(tmp_path / "many")
    assert len(one.shards) == 1 < len(many.shards)
    assert (one.config, one.total_bytes) == (many.config, many.total_bytes)
    assert f"torch.{one.config.dtype}" == str(dtype)
    for key, info in many.tensors.items():
        assert (info.dtype, info.shape) == (one.tensors[key].dtype, one.tensors[key].shape)


@pytest.mark.parametrize("name", FAMILY_CASES)
def test_offsets_point_at_the_values(tmp_path: Path, name: str) -> None:
    write_tiny_model(tmp_path, name, sharded=True)
    inventory = read_inventory(tmp_path)
    for info in inventory.tensors.values():
        with (tmp_path / info.shard).open("rb") as handle:
            handle.seek(info.start)
            ours = torch.frombuffer(bytearray(handle.read(info.n_bytes)), dtype=torch.float32)
        with safe_open(tmp_path / info.shard, framework="pt") as file:
            assert torch.equal(ours.view(info.shape), file.get_tensor(info.name))


@pytest.mark.parametrize("name", WITHOUT_EXPERTS)
@pytest.mark.requirement("1b")
def test_hf_keymap_names_modules_that_transformers_has(name: str) -> None:
    model = build_tiny_model(name)
    config = _config_of(model)
    for module in adapter_modules(config):
        theirs = model.get_submodule(module.theirs)
        assert isinstance(theirs.weight, torch.nn.Parameter)
        shape = (module.out_features, module.in_features)
        assert tuple(theirs.weight.shape) == (shape[::-1] if module.fan_in_fan_out else shape)
        assert (type(theirs).__name__ == "Conv1D") == module.fan_in_fan_out
    state = model.state_dict()
    assert {key.theirs for key in tensor_keys(config)} == state.keys()


def _config_of(model: PreTrainedModel) -> ModelConfig:
    return parse_model_config(json.loads(model.config.to_json_string()), "config.json")


def test_a_head_that_differs_from_a_tied_embedding_stays_its_own(tmp_path: Path) -> None:
    """A folder may call the head tied and have a different one; transformers keeps it too."""
    untied = write_tiny_model(tmp_path, "llama")
    config = AutoConfig.from_pretrained(tmp_path)
    config.tie_word_embeddings = True
    config.save_pretrained(tmp_path)
    inventory = read_inventory(tmp_path)
    assert not inventory.tied_head
    again = type(untied).from_pretrained(tmp_path)
    assert torch.equal(again.lm_head.weight, untied.lm_head.weight)
    assert not torch.equal(again.lm_head.weight, again.model.embed_tokens.weight)


def test_the_tokenizer_agrees_with_the_library_on_plain_text(tmp_path: Path) -> None:
    theirs = write_tiny_tokenizer(tmp_path)
    ours = load_hf_tokenizer(tmp_path)
    theirs.no_truncation()
    theirs.no_padding()
    text = "def add(a, b):\n    return a + b  # naïve 東京\n"
    assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids
    assert ours.decode(ours.encode(text)) == text
    assert ours.eos_id == theirs.token_to_id(IM_END) not in ours.encode(f"{text}{IM_END}")


def test_a_sparse_70b_folder_is_a_sound_model(tmp_path: Path) -> None:
    total = write_sparse_70b(tmp_path)
    inventory = read_inventory(tmp_path)
    assert inventory.total_bytes == total
    assert len(inventory.tensors) == len(tensor_keys(inventory.config))
