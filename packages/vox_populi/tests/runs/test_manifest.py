"""The manifest says everything that decided a run, and nothing of where or when it ran."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vox_populi.contract.choices import DeploymentTarget, DeviceKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.data.data_report import DataTally
from vox_populi.errors import ArtifactError
from vox_populi.files.whole_file import pretty_json
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.model_config import parse_model_config
from vox_populi.plan.device_choice import MachineFacts
from vox_populi.plan.execution_planner import DataFacts, ExecutionPlan, plan_execution
from vox_populi.plan.graph_choice import choose_graph
from vox_populi.runs.manifest import (
    MANIFEST_SCHEMA_VERSION,
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
SOURCE_SYSTEM_KEYS = {
    "vocab_size",
    "d_model",
    "n_heads",
    "n_layers",
    "base_model",
    "tokenizer_path",
    "train_file",
    "rank",
    "alpha",
    "seq_len",
    "epochs",
    "run_id",
    "git_sha",
    "device_profile",
    "seed",
    "grad_accum",
    "manifest_schema_version",
    "execution_kernel",
    "finetune_contract_digest",
    "training_objective_note",
}
"""Of spec part 5.3, what applies to every LoRA run."""


def contract(**changes: Any) -> FinetuneContract:
    return FinetuneContract.of(
        data_dir=Path("/secret/data"),
        output_dir=Path("/secret/out"),
        model_dir=Path("/secret/base"),
        **changes,
    )


def plan_of(request: FinetuneContract) -> ExecutionPlan:
    config = parse_model_config(GPT2, "config.json")
    inventory = ModelInventory(
        model_dir=Path("/secret/base"),
        config=config,
        tensors={},
        shards=(),
        total_bytes=0,
        tied_head=True,
    )
    machine = MachineFacts(n_cpus=1, has_cuda=False, has_mps=False)
    chosen = choose_graph(request, inventory)
    data = DataFacts(n_train_rows=9, n_valid_rows=1)
    return plan_execution(request, inventory, chosen, data, machine)


@pytest.fixture
def inputs() -> InputFacts:
    tally = DataTally()
    tally.keep(10, 4, truncated=False)
    return InputFacts(
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


@pytest.fixture
def results() -> ResultFacts:
    return ResultFacts(
        steps=3,
        epochs_completed=1,
        tokens=90,
        supervised_tokens=36,
        train_loss=2.0,
        evaluations=((0, 3.0), (3, 2.5)),
        heldout_loss_after=2.5,
        best_step=None,
        stopped_early=False,
        adapter_file="model_final.bin",
        adapter_sha256="ff",
        adapter_bytes=10,
        deterministic=True,
    )


def values(
    inputs: InputFacts, results: ResultFacts, request: FinetuneContract | None = None
) -> dict[str, object]:
    request = request or contract()
    return manifest_values(request, plan_of(request), inputs, results)


def test_a_manifest_has_the_source_systems_keys_and_no_paths(
    inputs: InputFacts, results: ResultFacts
) -> None:
    manifest = values(inputs, results)
    assert manifest.keys() >= SOURCE_SYSTEM_KEYS
    assert "secret" not in json.dumps(manifest)
    assert manifest["manifest_schema_version"] == MANIFEST_SCHEMA_VERSION
    assert manifest["run_id"] == "0123456789ab"
    assert manifest["targets"] == ["down", "k", "o", "q", "up", "v"]
    assert "context_filter" not in manifest
    assert "training_deployment_target" not in manifest


def test_what_decides_a_run_changes_the_manifest(inputs: InputFacts, results: ResultFacts) -> None:
    plain = values(inputs, results)
    assert values(inputs, results) == plain
    for change in (
        {"learning_rate": 1e-3},
        {"batch_size": 2},
        {"warmup_steps": 0},
        {"min_rating": None},
        {"weight_decay": 0.5},
        {"context_filter": "python"},
        {"system_prompt": "Hi"},
        {"max_grad_norm": 2.0},
    ):
        assert values(inputs, results, contract(**change)) != plain, change
    assert values(replace(inputs, base_digest="sha256:01"), results) != plain


def test_mobile_edge_is_named(inputs: InputFacts, results: ResultFacts) -> None:
    request = contract(
        deployment_target=DeploymentTarget.MOBILE_EDGE, device=DeviceKind.CPU, batch_size=1
    )
    manifest = values(inputs, results, request)
    assert manifest["training_deployment_target"] == "mobile_edge"
    assert manifest["training_deployment_note"]


def test_a_written_manifest_can_be_read_back(
    tmp_path: Path, inputs: InputFacts, results: ResultFacts
) -> None:
    manifest = values(inputs, results)
    path = tmp_path / "training_manifest.json"
    path.write_bytes(pretty_json(manifest))
    assert read_manifest(path) == manifest


def test_an_edited_manifest_is_refused_and_one_without_a_digest_is_read(
    tmp_path: Path, inputs: InputFacts, results: ResultFacts
) -> None:
    path = tmp_path / "training_manifest.json"
    manifest = json.loads(json.dumps(values(inputs, results)))
    path.write_text(json.dumps(manifest), "utf-8")
    assert read_manifest(path) == manifest
    manifest["results"]["train_loss"] = 0.001
    path.write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(ArtifactError, match="MENS-A111"):
        read_manifest(path)
    del manifest["manifest_sha256"]
    path.write_text(json.dumps(manifest), "utf-8")
    assert read_manifest(path) == manifest


def test_the_source_systems_manifests_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "training_manifest.json"
    for version in ({}, {"manifest_schema_version": 4}, {"manifest_schema_version": 5}):
        path.write_text(json.dumps({"vocab_size": 7, **version}), encoding="utf-8")
        assert read_manifest(path)["vocab_size"] == 7


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ('{"manifest_schema_version": 8, "vocab_size": 1}', "MENS-A021"),
        ('{"manifest_schema_version": true, "vocab_size": 1}', "MENS-A020"),
        ('{"manifest_schema_version": 6, "vocab_size": 1}', "MENS-A020"),
        ('{"manifest_schema_version": 5}', "MENS-A020"),
        ("[]", "MENS-A020"),
        ("{", "MENS-A020"),
    ],
)
def test_a_file_that_is_not_a_manifest_is_refused(tmp_path: Path, content: str, code: str) -> None:
    path = tmp_path / "training_manifest.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ArtifactError, match=code):
        read_manifest(path)


def test_the_card_follows_the_source_systems_order(
    inputs: InputFacts, results: ResultFacts
) -> None:
    card = model_card(values(inputs, results))
    titles = [line for line in card.splitlines() if line.startswith("#")]
    order = ["# Vox LoRA adapter", "## Base model", "## Data", "## Architecture", "## Notes"]
    assert [title for title in titles if title in order] == order
    assert "- train file: `train.jsonl`" in card
    for bullet in ("- vocab: 300", "- d_model: 16", "- layers: 2", "- heads: 4"):
        assert bullet in card
    assert "held-out loss after: 2.5000" in card


def test_a_name_cannot_leave_its_place_in_the_card(
    inputs: InputFacts, results: ResultFacts
) -> None:
    named = replace(inputs, base_name="x`\n# Owned\n")
    card = model_card(values(named, results))
    assert "# Owned" not in [line.strip() for line in card.splitlines()]
    assert "not measured" in model_card(
        values(inputs, replace(results, evaluations=(), heldout_loss_after=None))
    )
