"""A base in NF4: which layers are, with which numbers, and what is refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from torch import nn

from vox_populi.errors import ModelError
from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.hf.inventory import ModelInventory, read_inventory
from vox_populi.hf.keymap import TensorKey, block_weight_keys, tensor_keys
from vox_populi.hf.model_config import parse_model_config
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.model.hf_load import load_base, read_weight
from vox_populi.model.nf4_load import load_nf4_base, quantize_stored
from vox_tensor.collate import collate_window
from vox_tensor.lora import FrozenLinear
from vox_tensor.nf4 import Nf4Tensor, dequantize_nf4, quantize_nf4
from vox_tensor.nf4_levels import Nf4Settings
from vox_tensor.nf4_weight import DensePool, Nf4Weight
from vox_tensor.records import EncodedRow

GPT2 = {"model_type": "gpt2", "vocab_size": 7, "n_embd": 8, "n_layer": 2, "n_head": 2}
UP = "transformer.h.0.mlp.c_fc.weight"
ROW = collate_window([EncodedRow(ids=(1, 5, 3, 2, 6), labels=(1, 5, 3, 2, 6), line=1)])


def write_gpt2(
    folder: Path, spoil: str = "", value: float = 0.5, leave_out: str = "nothing"
) -> Path:
    """Random f32 tensors; `spoil` names one whose last value becomes `value`."""
    folder.mkdir()
    raw = {**GPT2, "n_positions": 8}
    (folder / "config.json").write_text(json.dumps(raw), "utf-8")
    draw = torch.Generator().manual_seed(3)
    header, body = {}, b""
    for key in tensor_keys(parse_model_config(raw, "test"))[:-1]:
        if key.theirs == leave_out:
            continue
        numbers = torch.randn(key.shape, generator=draw).flatten()
        if key.theirs == spoil:
            numbers[-1] = value
        data = struct.pack(f"<{len(numbers)}f", *numbers.tolist())
        offsets = [len(body), len(body) + len(data)]
        header[key.theirs] = {"dtype": "F32", "shape": list(key.shape), "data_offsets": offsets}
        body += data
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)
    return folder


def load(
    inventory: ModelInventory, settings: Nf4Settings | None = None, dtype: torch.dtype | None = None
) -> CausalGraph:
    settings = settings or Nf4Settings()
    return load_nf4_base(inventory, dtype or torch.float32, "cpu", settings, DensePool())


def packed_layer(model: CausalGraph, key: TensorKey) -> Nf4Tensor:
    layer = model.get_submodule(key.ours.removesuffix(".weight"))
    assert isinstance(layer, FrozenLinear)
    assert isinstance(layer.weight, Nf4Weight)
    return layer.weight.quantized


@pytest.fixture
def gpt2(tmp_path: Path) -> ModelInventory:
    return read_inventory(write_gpt2(tmp_path / "base"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_linear_layers_of_blocks_are_packed_and_nothing_else(
    gpt2: ModelInventory, dtype: torch.dtype
) -> None:
    model, dense = load(gpt2, dtype=dtype), load_base(gpt2, dtype)
    keys = block_weight_keys(gpt2.config)
    assert [key.ours for key in keys[:4]] == [
        "blocks.0.attn.qkv.weight",
        "blocks.0.attn.o.weight",
        "blocks.0.mlp.up.weight",
        "blocks.0.mlp.down.weight",
    ]
    for key in keys:
        weight = packed_layer(model, key)
        expected = quantize_nf4(read_weight(gpt2, key))
        assert weight.shape == key.our_shape
        assert torch.equal(weight.codes, expected.codes), "whatever the compute dtype"
        assert weight.dtype == torch.float32
    kept = dict(model.named_parameters())
    assert kept.keys() == {
        name for name, _ in dense.named_parameters() if name not in {k.ours for k in keys}
    }
    for name, parameter in kept.items():
        assert torch.equal(parameter, dense.get_parameter(name))
        assert parameter.dtype == dtype
        assert not parameter.requires_grad
    assert model.layer("lm_head").weight is model.layer("embed").weight
    assert not model.training


def test_an_nf4_model_computes_the_same_as_its_dequantised_weights(gpt2: ModelInventory) -> None:
    model, dense = load(gpt2), load_base(gpt2, torch.float32)
    before = dense.logits(ROW)
    for key in gpt2.quantized_keys():
        layer = dense.get_submodule(key.ours.removesuffix(".weight"))
        assert isinstance(layer, nn.Linear)
        layer.weight = nn.Parameter(dequantize_nf4(packed_layer(model, key)), requires_grad=False)
    after = dense.logits(ROW)
    assert torch.equal(model.logits(ROW), after)
    assert not torch.equal(before, after)


def test_settings_reach_the_quantiser(gpt2: ModelInventory) -> None:
    key = gpt2.quantized_keys()[0]
    for double_quant in (True, False):
        settings = Nf4Settings(block_size=32, double_quant=double_quant)
        weight = packed_layer(load(gpt2, settings), key)
        assert (weight.block_size, weight.double_quant) == (32, double_quant)
        alone = quantize_stored(gpt2, key, settings)
        assert torch.equal(alone.codes, weight.codes)


def test_an_embedding_table_can_be_quantised_alone(gpt2: ModelInventory) -> None:
    key = next(key for key in tensor_keys(gpt2.config) if key.ours == "embed.weight")
    assert key not in gpt2.quantized_keys()
    assert quantize_stored(gpt2, key, Nf4Settings()).shape == (7, 8)


def test_the_embedded_base_loads_and_is_close_to_itself() -> None:
    inventory = read_inventory(embedded_model_dir())
    model, dense = load(inventory), load_base(inventory, torch.float32)
    ours, theirs = model.logits(ROW), dense.logits(ROW)
    assert not torch.equal(ours, theirs)
    assert torch.corrcoef(torch.stack((ours.flatten(), theirs.flatten())))[0, 1].item() > 0.5
    codes = sum(packed_layer(model, key).n_bytes for key in inventory.quantized_keys())
    dense_bytes = sum(4 * dense.get_parameter(k.ours).numel() for k in inventory.quantized_keys())
    assert codes < dense_bytes / 6


@pytest.mark.parametrize("name", [UP, "transformer.h.0.ln_1.bias", "transformer.wte.weight"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_refused_by_name(
    tmp_path: Path, name: str, value: float
) -> None:
    inventory = read_inventory(write_gpt2(tmp_path / "base", name, value))
    with pytest.raises(ModelError, match=rf"MENS-H061.*model\.safetensors.*{name}"):
        load(inventory)


def test_magnitudes_without_a_mean_are_refused_by_name(tmp_path: Path) -> None:
    folder = write_gpt2(tmp_path / "base")
    shard = folder / "model.safetensors"
    inventory = read_inventory(folder)
    info = inventory.tensors[UP]
    data = bytearray(shard.read_bytes())
    data[info.start : info.end] = struct.pack("<f", 3e38) * (info.n_bytes // 4)
    shard.write_bytes(data)
    with pytest.raises(ModelError, match=rf"MENS-H079.*{UP}.*no-double-quant"):
        load(inventory)
    model = load(inventory, Nf4Settings(double_quant=False))
    assert packed_layer(model, inventory.quantized_keys()[2]).absmax_B().amax() > 2.9e38


def test_a_shard_that_became_shorter_is_refused(tmp_path: Path) -> None:
    folder = write_gpt2(tmp_path / "base")
    inventory = read_inventory(folder)
    shard = folder / "model.safetensors"
    shard.write_bytes(shard.read_bytes()[:-4])
    with pytest.raises(ModelError, match="MENS-H003"):
        load(inventory)


def test_an_incomplete_inventory_is_the_callers_mistake(tmp_path: Path) -> None:
    folder = write_gpt2(tmp_path / "base", leave_out=UP)
    inventory = read_inventory(folder, complete=False)
    assert inventory.missing == (UP,)
    with pytest.raises(ValueError, match=UP):
        load(inventory)
    assert len(inventory.quantized_keys()) == 7
