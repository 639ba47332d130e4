"""Tier A: gpt-oss as it is published, with experts in MXFP4, against transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.integrations.mxfp4 import convert_moe_packed_tensors
from transformers.utils.quantization_config import Mxfp4Config

from tests_integration.tier_a.test_transformers_graph_runs import (
    IDS,
    contract,
    logits_of,
)
from tests_integration.tiny_mxfp4 import change_config, write_mxfp4_model
from tests_integration.tolerances import BF16_WEIGHT, F32_LOGITS, assert_parity, differs
from vox_populi.contract.choices import Backend
from vox_populi.errors import ModelError
from vox_populi.hf.experts_place import EACH
from vox_populi.hf.inventory import read_inventory
from vox_populi.infer.cached_model import CachedModel
from vox_populi.infer.generate import generate_ids
from vox_populi.infer.sampling_spec import SamplingSpec
from vox_populi.merge.choices import Onto
from vox_populi.model.hf_load import load_base
from vox_populi.model.transformers_experts import experts_of_the_class
from vox_populi.model.transformers_graph import TransformersGraph
from vox_populi.operator_messages.mxfp4 import NOTE_MERGED_DENSE, NOTE_READ_AS_DENSE
from vox_populi.pipeline.merge import AnyMergeRequest, merge_adapter
from vox_populi.pipeline.model_check import ModelCheckRequest, check_model
from vox_populi.pipeline.train import RunOptions, run_training
from vox_populi.runs.find_adapter import find_own_adapter
from vox_tensor.collate import collate_window
from vox_tensor.mxfp4 import dequantize_mxfp4
from vox_tensor.records import IGNORE_INDEX, EncodedRow

EXPERTS = "model.layers.0.mlp.experts.gate_up_proj"


def dense_model(folder: Path) -> Any:
    """What transformers makes of a folder in MXFP4."""
    asked = Mxfp4Config(dequantize=True)
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=asked, dtype=torch.float32
    )
    return model.eval()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_every_code_is_that_of_transformers(dtype: torch.dtype) -> None:
    blocks = torch.arange(256, dtype=torch.uint8).view(1, 16, 16).repeat(255, 1, 1)
    scales = torch.arange(255, dtype=torch.uint8).view(1, 255, 1).repeat(1, 1, 16)
    theirs = convert_moe_packed_tensors(blocks.unsqueeze(0), scales, dtype=dtype)
    assert torch.equal(dequantize_mxfp4(blocks.unsqueeze(0), scales).to(dtype).mT, theirs)


@torch.no_grad()
def test_a_folder_is_computed_as_transformers_computes_it(tmp_path: Path) -> None:
    packed_from = write_mxfp4_model(tmp_path, spread=0.6)
    theirs, inventory = dense_model(tmp_path), read_inventory(tmp_path)
    ours = load_base(inventory, torch.float32)
    assert isinstance(ours, TransformersGraph)
    table = inventory.config.modules
    assert table is not None
    with experts_of_the_class(ours.inner, table):
        whole = ours.inner.state_dict()
    state = {name: tensor for name, tensor in whole.items() if f".{EACH}." not in name}
    expected = theirs.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state.items())
    ids = tuple(IDS[0].tolist())
    found = ours.logits(collate_window([EncodedRow(ids, (IGNORE_INDEX,) * len(ids))]))
    assert_parity(found, logits_of(theirs), F32_LOGITS)
    assert differs(found, logits_of(packed_from), F32_LOGITS), "four bits are not the numbers"
    made = generate_ids(
        CachedModel(ours), ids[:9], max_new_tokens=12, stop_ids=(), sampling=SamplingSpec()
    )
    text = theirs.generate(
        IDS[:, :9], max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert list(made.ids) == text[0, 9:].tolist()
    assert inventory.total_bytes < sum(tensor.nbytes for tensor in state.values())


def test_a_merge_onto_the_published_numbers_is_in_one_type_and_adds_to_every_expert(
    tmp_path: Path,
) -> None:
    write_mxfp4_model(tmp_path / "base", tokenizer=True, spread=0.5, dtype=torch.bfloat16)
    asked = contract(tmp_path, "run", backend=Backend.QLORA, max_steps=2)
    assert NOTE_READ_AS_DENSE in check_model(ModelCheckRequest(source=tmp_path / "base")).notes
    report = run_training(asked, RunOptions())
    merged = merge_adapter(
        AnyMergeRequest(source=report.run, output=tmp_path / "merged", onto=Onto.ORIGINAL)
    )
    assert NOTE_MERGED_DENSE in merged.notes
    config = json.loads((merged.output / "config.json").read_text("utf-8"))
    assert "quantization_config" not in config
    stored = load_file(merged.output / "model.safetensors")
    base = dense_model(tmp_path / "base").state_dict()
    dtype = stored[EXPERTS].dtype
    assert {tensor.dtype for tensor in stored.values()} == {dtype}
    learned = find_own_adapter(report.run, None).adapter
    pairs = [learned.pair(f"blocks.0.mlp.experts.{number}.gate_up") for number in range(4)]
    updates = [learned.header.lora.scale * (b_OR @ a_RI).t() for a_RI, b_OR in pairs]
    expected = base[EXPERTS] + torch.stack(updates)
    assert differs(expected, base[EXPERTS], F32_LOGITS)
    assert_parity(stored[EXPERTS].float(), expected, BF16_WEIGHT)


def test_damage_is_one_line_each(tmp_path: Path) -> None:
    write_mxfp4_model(tmp_path)
    path = tmp_path / "model.safetensors"
    sound = load_file(path)
    scales = f"{EXPERTS}_scales"
    nan = sound[scales].clone()
    nan[1, 0, 0] = 255
    for changed, code in (
        ({scales: nan}, "MENS-H255"),
        ({scales: sound[scales][..., :1].contiguous()}, "MENS-H254"),
        ({EXPERTS: torch.zeros(4, 64, 64)}, "MENS-H0"),
    ):
        save_file(sound | changed, path, {"format": "pt"})
        with pytest.raises(ModelError) as raised:
            load_base(read_inventory(tmp_path), torch.float32)
        (problem,) = raised.value.problems
        assert problem.code.startswith(code)
    save_file(sound, path, {"format": "pt"})
    change_config(tmp_path, quantization_config=None)
    with pytest.raises(ModelError, match="MENS-H257"):
        read_inventory(tmp_path)
