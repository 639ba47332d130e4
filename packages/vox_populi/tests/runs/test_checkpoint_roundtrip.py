"""A trained model survives its file: the same logits, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vox_populi.adapters.header import AdaptedModule, AdapterHeader
from vox_populi.adapters.lora_bin import read_adapter_bin, write_adapter_bin
from vox_populi.hf.keymap import adapter_modules
from vox_populi.hf.model_config import ModelConfig, parse_model_config
from vox_populi.model.lora_transformer import (
    adapter_tensors,
    attach_adapters,
    load_adapter_tensors,
)
from vox_populi.model.transformer import Transformer
from vox_tensor.collate import PackedBatch, collate_window
from vox_tensor.lora import LoraLinear
from vox_tensor.records import EncodedRow

CONFIGS = {
    "gpt2": {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32},
    "llama": {
        "model_type": "llama",
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32,
    },
}


def build(config: ModelConfig, header: AdapterHeader) -> tuple[Transformer, dict[str, LoraLinear]]:
    """The base always with the same weights, the adapters with their start values."""
    torch.manual_seed(0)
    model = Transformer(config).eval()
    torch.nn.init.normal_(model.embed.weight)
    generator = torch.Generator().manual_seed(1)
    return model, attach_adapters(model, adapter_modules(config), header.lora, generator)


@torch.no_grad()
def logits(model: Transformer) -> Tensor:
    return model.eval().logits(batch())


def batch() -> PackedBatch:
    return collate_window([EncodedRow((1, 2, 3, 4), (1, 2, 3, 4)), EncodedRow((5, 6), (5, 6))])


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.requirement("3")
def test_lora_vox_transformer_checkpoint_roundtrip(
    tmp_path: Path, header: AdapterHeader, name: str
) -> None:
    config = parse_model_config({"vocab_size": 24, **CONFIGS[name]}, "test")
    modules = tuple(AdaptedModule.of(module) for module in adapter_modules(config))
    header = replace(header, modules=modules, model_type=name)
    trained, adapted = build(config, header)
    untrained = logits(trained)
    with torch.no_grad():
        for layer in adapted.values():
            layer.a_RI.add_(0.1 * torch.randn_like(layer.a_RI))
            layer.b_OR.normal_(std=0.1)
    expected = logits(trained)
    assert not torch.equal(expected, untrained)

    path = tmp_path / "model_final.bin"
    write_adapter_bin(path, header, adapter_tensors(adapted))
    read = read_adapter_bin(path)
    fresh, places = build(config, read.header)
    assert torch.equal(logits(fresh), untrained)
    load_adapter_tensors(places, read.tensors)

    assert read.header == header
    assert torch.equal(logits(fresh), expected)
