"""Which weights of a base training held in NF4, and what they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from packages.vox_populi.tests.qlora_adapters import QUANTIZATION, qlora_header
from vox_populi.contract.choices import GraphId
from vox_populi.hf.inventory import read_inventory
from vox_populi.hf.keymap import adapter_modules, tensor_keys
from vox_populi.hf.model_config import parse_model_config
from vox_populi.merge.rounded_weight import TrainedBase, trained_base, with_table_as_head
from vox_tensor.nf4 import dequantize_nf4, quantize_nf4

GPT2 = {
    "model_type": "gpt2",
    "vocab_size": 24,
    "n_embd": 8,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 16,
}
OUTPUTS = {"blocks.0.attn.o.weight", "blocks.1.attn.o.weight"}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A GPT-2, whose matrices lie `[in, out]` and whose head is its table."""
    generator = torch.Generator().manual_seed(0)
    (tmp_path / "config.json").write_text(json.dumps(GPT2), encoding="utf-8")
    keys = tensor_keys(parse_model_config(GPT2, "test"))
    save_file(
        {k.theirs: torch.randn(k.shape, generator=generator) for k in keys if k.required},
        tmp_path / "model.safetensors",
    )
    return tmp_path


def trained(base: Path, graph: GraphId) -> TrainedBase:
    inventory = read_inventory(base)
    header = qlora_header(base, graph)
    known = {module.ours: module for module in adapter_modules(inventory.config)}
    return trained_base(inventory, header, QUANTIZATION, [known[m.ours] for m in header.modules])


@pytest.mark.parametrize(
    ("graph", "rounded"),
    [
        (GraphId.PROXY_STACK, OUTPUTS | {"lm_head.weight"}),
        (GraphId.HEAD_ONLY, {"lm_head.weight"}),
    ],
)
@pytest.mark.requirement("10")
def test_merge_rounds_what_a_proxy_adapts(base: Path, graph: GraphId, rounded: set[str]) -> None:
    assert trained(base, graph).rounded == rounded


@pytest.mark.requirement("10")
def test_merge_rounds_every_matrix_of_the_blocks_of_the_full_graph(base: Path) -> None:
    found = trained(base, GraphId.FULL).rounded
    assert len(found) == 8
    assert found > OUTPUTS
    assert all(name.startswith("blocks.") for name in found)


@pytest.mark.requirement("10")
def test_merge_rounds_in_our_orientation_and_gives_the_bases(base: Path) -> None:
    both = trained(base, GraphId.PROXY_STACK)
    stored = load_file(base / "model.safetensors")
    keys = {key.ours: key for key in tensor_keys(both.inventory.config)}
    weight = both.weight(keys["blocks.0.attn.o.weight"])
    assert weight is not None
    dense_IO = stored["transformer.h.0.attn.c_proj.weight"]
    packed = quantize_nf4(
        dense_IO.T.contiguous(),
        block_size=QUANTIZATION.nf4.block_size,
        double_quant=QUANTIZATION.nf4.double_quant,
    )
    assert torch.equal(weight.values_NI(), dequantize_nf4(packed).T)
    assert not torch.equal(weight.values_NI(), dense_IO)
    assert both.weight(keys["blocks.0.mlp.up.weight"]) is None
    assert both.weight(keys["embed.weight"]) is None


@pytest.mark.requirement("10")
def test_merge_rounds_a_copy_of_the_table_for_a_head_that_is_tied(base: Path) -> None:
    both = trained(base, GraphId.HEAD_ONLY)
    head = next(k for k in tensor_keys(both.inventory.config) if k.ours == "lm_head.weight")
    weight = both.weight(head)
    assert weight is not None
    assert weight.key.ours == "embed.weight"
    table = load_file(base / "model.safetensors")["transformer.wte.weight"]
    assert weight.values_NI().shape == table.shape
    assert 0 < (weight.values_NI() - table).abs().max() < 1


@pytest.mark.requirement("10")
def test_merge_sees_no_head_beside_the_table_where_training_did_not(base: Path) -> None:
    tensors = load_file(base / "model.safetensors")
    own = torch.ones(24, 8)
    save_file({**tensors, "lm_head.weight": own}, base / "model.safetensors")
    untied = {**GPT2, "tie_word_embeddings": False}
    (base / "config.json").write_text(json.dumps(untied), encoding="utf-8")
    stored = read_inventory(base)
    assert "lm_head.weight" in stored.tensors
    found = with_table_as_head(stored)
    assert found.tied_head
    assert found.tensors.keys() == stored.tensors.keys() - {"lm_head.weight"}
    assert found.shards == stored.shards
