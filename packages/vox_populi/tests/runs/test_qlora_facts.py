"""The manifest and the model card of a run on a 4-bit base."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import pytest

from vox_populi.containers.safetensors_header import TensorInfo
from vox_populi.contract.choices import Backend, TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.qlora_spec import QloraGraph, QloraSpec
from vox_populi.data.data_report import DataTally, DropReason
from vox_populi.files.whole_file import pretty_json
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import tensor_keys
from vox_populi.hf.model_config import parse_model_config
from vox_populi.plan.device_choice import MachineFacts
from vox_populi.plan.execution_planner import DataFacts, plan_execution
from vox_populi.plan.graph_choice import choose_graph
from vox_populi.runs.manifest import (
    QLORA_MANIFEST_SCHEMA_VERSION,
    InputFacts,
    ResultFacts,
    manifest_values,
    read_manifest,
)
from vox_populi.runs.model_card import model_card

GPT2: dict[str, Any] = {
    "model_type": "gpt2",
    "vocab_size": 300,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 64,
}
PROXY = QloraSpec(graph=QloraGraph.PROXY, ce_last_k=4)


def inventory(*, has_stack: bool = True) -> ModelInventory:
    config = parse_model_config(GPT2, "config.json")
    tensors = {
        key.theirs: TensorInfo(
            key.theirs, "F32", key.shape, "model.safetensors", 0, 4 * prod(key.shape)
        )
        for key in tensor_keys(config)
        if key.required and (has_stack or "attn.c_proj" not in key.theirs)
    }
    return ModelInventory(
        model_dir=Path("/secret/base"),
        config=config,
        tensors=tensors,
        shards=(),
        total_bytes=0,
        tied_head=True,
    )


def manifest(
    qlora: QloraSpec, *, backend: Backend = Backend.QLORA, has_stack: bool = True
) -> dict[str, object]:
    request = FinetuneContract.of(
        data_dir=Path("/secret/data"),
        output_dir=Path("/secret/out"),
        backend=backend,
        tokenizer=TokenizerKind.HF,
        qlora=qlora,
    )
    machine = MachineFacts(n_cpus=1, has_cuda=False, has_mps=False)
    facts = DataFacts(n_train_rows=9, n_valid_rows=1)
    base = inventory(has_stack=has_stack)
    plan = plan_execution(request, base, choose_graph(request, base), facts, machine)
    tally = DataTally()
    tally.keep(10, 4, truncated=False)
    tally.drop(DropReason.NOTHING_TO_LEARN)
    tally.drop(DropReason.LOW_RATING)
    inputs = InputFacts(
        base_name="base",
        base_digest="sha256:00",
        tokenizer_digest="sha256:11",
        template_digest="sha256:22",
        contract_digest="sha256:0123456789abcdef",
        train_file="train.jsonl",
        train_digest="sha256:33",
        train_report=tally.report(),
        valid_file=None,
        valid_digest=None,
        valid_report=None,
    )
    results = ResultFacts(
        steps=3,
        epochs_completed=1,
        tokens=90,
        supervised_tokens=36,
        train_loss=2.0,
        evaluations=(),
        heldout_loss_after=None,
        best_step=None,
        stopped_early=False,
        adapter_file="candle_qlora_adapter.safetensors",
        adapter_sha256="ff",
        adapter_bytes=10,
        deterministic=True,
    )
    return manifest_values(request, plan, inputs, results)


def test_the_proxy_is_named_in_the_manifest() -> None:
    found = manifest(PROXY)
    expected = {
        "manifest_schema_version": QLORA_MANIFEST_SCHEMA_VERSION,
        "execution_kernel": "candle_qlora",
        "candle_compat_mode": True,
        "candle_qlora_graph_id": "proxy_stack_v1_residual",
        "trainable_projection_stack": ["mid0", "mid1", "lm_head"],
        "candle_qlora_middle_layers_active": 2,
        "candle_qlora_proxy_stack_complete": True,
        "candle_qlora_ce_last_k": 4,
        "training_objective_note": "candle_qlora_proxy_v1_k4",
        "double_quant": True,
        "nf4_block_size": 64,
        "candle_qlora_training_steps_executed": 3,
        "candle_qlora_skips_bad_vocab": 0,
        "candle_qlora_skips_last_hidden": 0,
        "candle_qlora_skips_short_seq": 1,
    }
    assert {name: found[name] for name in expected} == expected


def test_graph_and_active_layers_agree_when_the_stack_is_incomplete() -> None:
    found = manifest(PROXY, has_stack=False)
    assert found["candle_qlora_graph_id"] == "lm_head_only"
    assert found["candle_qlora_middle_layers_active"] == 0
    assert found["candle_qlora_proxy_stack_complete"] is False
    assert found["trainable_projection_stack"] == ["lm_head"]


def test_the_full_graph_says_that_it_learns_the_whole_turn() -> None:
    found = manifest(QloraSpec(double_quant=False, block_size=128))
    assert found["candle_qlora_graph_id"] == "full_graph_v1"
    assert found["training_objective_note"] == "candle_qlora_full_graph_full_assistant_ce"
    assert found["candle_qlora_ce_last_k"] == 0
    assert (found["double_quant"], found["nf4_block_size"]) == (False, 128)
    assert found["trainable_projection_stack"] == [
        f"l{layer}.{name}" for layer in range(2) for name in ("qkv", "o", "up", "down")
    ]


def test_a_lora_manifest_has_no_qlora_keys_and_the_lower_version() -> None:
    found = manifest(QloraSpec(), backend=Backend.LORA)
    assert found["manifest_schema_version"] == QLORA_MANIFEST_SCHEMA_VERSION - 1
    assert not [name for name in found if "candle" in name or "quant" in name or "nf4" in name]


@pytest.mark.parametrize("qlora", [QloraSpec(), PROXY])
def test_a_qlora_manifest_can_be_read_back(tmp_path: Path, qlora: QloraSpec) -> None:
    written = manifest(qlora)
    path = tmp_path / "training_manifest.json"
    path.write_bytes(pretty_json(written))
    assert read_manifest(path) == written


def test_the_model_card_never_passes_a_proxy_loss_for_a_language_models() -> None:
    proxy, full = model_card(manifest(PROXY)), model_card(manifest(QloraSpec()))
    lora = model_card(manifest(QloraSpec(), backend=Backend.LORA))
    assert "NOT LANGUAGE-MODEL LOSSES" in proxy
    assert "NOT LANGUAGE-MODEL LOSSES" not in full + lora
    assert "# Vox QLoRA adapter" in full
    assert "# Vox LoRA adapter" in lora
    assert "`candle_qlora_proxy_v1_k4`" in proxy
    assert "NF4, blocks of 64, double quantisation" in full
