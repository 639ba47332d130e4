"""Weights as they come from files: what cannot be computed with is refused by name."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch

from vox_populi.errors import ModelError
from vox_populi.hf.inventory import read_inventory
from vox_populi.hf.keymap import tensor_keys
from vox_populi.hf.model_config import parse_model_config
from vox_populi.model.hf_load import load_base

CONFIG = {"model_type": "gpt2", "vocab_size": 7, "n_embd": 4, "n_layer": 1, "n_head": 2}


def write_base(folder: Path, spoil: str | None = None, value: float = 0.5) -> Path:
    """A GPT-2 of f32 tensors; `spoil` names one whose last value becomes `value`."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**CONFIG, "n_positions": 8}), "utf-8")
    keys = tensor_keys(parse_model_config({**CONFIG, "n_positions": 8}, "test"))
    header, body = {}, b""
    for key in keys:
        if not key.required:
            continue
        numbers = torch.arange(1, torch.Size(key.shape).numel() + 1).div(100).tolist()
        if key.theirs == spoil:
            numbers[-1] = value
        data = struct.pack(f"<{len(numbers)}f", *numbers)
        offsets = [len(body), len(body) + len(data)]
        header[key.theirs] = {"dtype": "F32", "shape": list(key.shape), "data_offsets": offsets}
        body += data
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)
    return folder


def test_tensors_are_read_and_conv1d_weights_turned(tmp_path: Path) -> None:
    model = load_base(read_inventory(write_base(tmp_path / "base")), torch.float32)
    stored = torch.arange(1, 4 * 12 + 1).div(100).view(4, 12)
    assert torch.equal(model.get_parameter("blocks.0.attn.qkv.weight"), stored.t())
    assert model.layer("lm_head").weight is model.layer("embed").weight
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_not_finite_is_refused_by_name(tmp_path: Path, value: float) -> None:
    name = "transformer.h.0.mlp.c_fc.weight"
    inventory = read_inventory(write_base(tmp_path / "base", name, value))
    with pytest.raises(ModelError, match=rf"MENS-H061.*model\.safetensors.*{name}"):
        load_base(inventory, torch.float32)


def test_a_shard_that_became_shorter_is_refused(tmp_path: Path) -> None:
    folder = write_base(tmp_path / "base")
    inventory = read_inventory(folder)
    shard = folder / "model.safetensors"
    shard.write_bytes(shard.read_bytes()[:-4])
    with pytest.raises(ModelError, match="MENS-H003"):
        load_base(inventory, torch.float32)
