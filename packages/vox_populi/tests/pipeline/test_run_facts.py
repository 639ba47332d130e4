"""What a planned run says of itself: the preflight record, telemetry's first line, the header."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from packages.vox_populi.tests.schemas import meets_schema
from vox_populi.contract.choices import Backend, ComputeDtype, TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.qlora_spec import QloraGraph, QloraSpec
from vox_populi.pipeline.run_facts import (
    PREFLIGHT_SCHEMA_VERSION,
    adapter_header,
    input_facts,
    preflight_record,
    train_start_payload,
)
from vox_populi.pipeline.train import PlannedRun, plan_training
from vox_populi.plan.tokenizer_choice import TokenizerChoice
from vox_populi.runs.manifest import InputFacts
from vox_tensor.tokenizer import VoxTokenizer

MakeContract = Callable[..., FinetuneContract]
PROXY = QloraSpec(graph=QloraGraph.PROXY, ce_last_k=2, double_quant=False, block_size=32)


@pytest.fixture
def planned(
    make_contract: MakeContract, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., PlannedRun]:
    """A plan for a base whose `hf` tokenizer is ours; nothing is computed."""

    def choose(*_: object) -> TokenizerChoice:
        contract = make_contract()
        assert contract.model_dir is not None
        return TokenizerChoice(VoxTokenizer(), contract.model_dir / "tokenizer.json")

    monkeypatch.setattr("vox_populi.plan.preflight.choose_tokenizer", choose)

    def plan(qlora: QloraSpec | None = None, **changes: Any) -> PlannedRun:
        if qlora is None:
            return plan_training(make_contract(**changes))
        asked = {"backend": Backend.QLORA, "tokenizer": TokenizerKind.HF, **changes}
        return plan_training(make_contract(qlora=qlora, **asked))

    return plan


def facts(run: PlannedRun) -> InputFacts:
    return input_facts(run)


@pytest.mark.parametrize("qlora", [None, QloraSpec(), PROXY])
def test_the_preflight_record_is_what_its_schema_asks_for(
    planned: Callable[..., PlannedRun], qlora: QloraSpec | None
) -> None:
    run = planned(qlora)
    record = json.loads(json.dumps(preflight_record(run, facts(run))))
    assert meets_schema(record, "training-preflight")
    assert record["execution_kernel"] == ("lora" if qlora is None else "qlora")
    assert record["schema_version"] == PREFLIGHT_SCHEMA_VERSION
    assert record.get("notes", []) == list(run.notes)


@pytest.mark.parametrize(
    "broken",
    [
        {"schema_version": "vox.mens.preflight.v9"},
        {"contract_digest": ""},
        {"execution_kernel": 1},
        {"notes": "one"},
        {"notes": [1]},
        {"contract_digest": None},
    ],
)
def test_the_schema_refuses_what_is_not_a_record(
    planned: Callable[..., PlannedRun], broken: dict[str, Any]
) -> None:
    run = planned(PROXY)
    record = json.loads(json.dumps(preflight_record(run, facts(run))))
    assert meets_schema(record | {"more": 1}, "training-preflight")
    assert not meets_schema(record | broken, "training-preflight")
    for name in ("schema_version", "contract_digest", "execution_kernel"):
        less = {key: value for key, value in record.items() if key != name}
        assert not meets_schema(less, "training-preflight")


def test_telemetry_starts_with_what_the_source_systems_readers_ask_for(
    planned: Callable[..., PlannedRun],
) -> None:
    run = planned(PROXY)
    start = train_start_payload(run, facts(run))
    expected = {
        "trainer": "qlora_proxy",
        "execution_kernel": "candle_qlora",
        "candle_compat_mode": True,
        "candle_qlora_graph_id": "proxy_stack_v1_residual",
        "trainable_projection_stack": ["mid0", "mid1", "lm_head"],
        "candle_qlora_middle_layers_active": 2,
        "candle_qlora_proxy_stack_complete": True,
        "candle_qlora_ce_last_k": 2,
        "training_objective_note": "candle_qlora_proxy_v1_k2",
        "double_quant": False,
        "nf4_block_size": 32,
        "middle_projections_loaded": 2,
        "middle_projections_expected": 2,
        "middle_projections_stack_active": True,
    }
    assert {name: start[name] for name in expected} == expected


def test_a_full_graph_names_its_own_layers_and_has_no_stack(
    planned: Callable[..., PlannedRun],
) -> None:
    run = planned(QloraSpec())
    start = train_start_payload(run, facts(run))
    stack = start["trainable_projection_stack"]
    assert isinstance(stack, list)
    assert (stack[0], stack[-1], len(stack)) == ("l0.q", "l1.down", 14)
    assert start["candle_qlora_graph_id"] == "full_graph_v1"
    assert start["candle_qlora_ce_last_k"] == 0
    assert "candle_qlora_proxy_stack_complete" not in start


def test_a_lora_run_records_no_qlora_facts(planned: Callable[..., PlannedRun]) -> None:
    run = planned()
    start = train_start_payload(run, facts(run))
    assert start["trainer"] == "lora_full"
    assert not [name for name in start if "candle" in name or "quant" in name or "nf4" in name]
    header = adapter_header(run, facts(run), 3)
    assert (header.graph, header.quantization, header.version) == ("full_graph_v1", None, "1")


@pytest.mark.parametrize("dtype", [ComputeDtype.F32, ComputeDtype.BF16])
def test_the_header_says_graph_and_quantisation(
    planned: Callable[..., PlannedRun], dtype: ComputeDtype
) -> None:
    run = planned(PROXY, dtype=dtype)
    header = adapter_header(run, facts(run), 3)
    assert header.graph == "proxy_stack_v1_residual"
    quantization = header.quantization
    assert quantization is not None
    assert quantization.nf4 == PROXY.nf4
    assert quantization.compute_dtype == dtype
    assert [module.ours for module in header.modules][-1] == "lm_head"


def test_the_digest_of_the_request_covers_the_graph(planned: Callable[..., PlannedRun]) -> None:
    one, other = planned(PROXY), planned(replace(PROXY, ce_last_k=3))
    assert facts(one).contract_digest == facts(planned(PROXY)).contract_digest
    assert facts(one).contract_digest != facts(other).contract_digest
