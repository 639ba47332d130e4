from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from vox_populi.contract.choices import Backend, TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.qlora_spec import QloraGraph, QloraSpec
from vox_populi.hf.inventory import ModelInventory
from vox_populi.plan.execution_planner import (
    DataFacts,
    ExecutionPlan,
    MachineFacts,
    plan_execution,
)
from vox_populi.plan.graph_choice import choose_graph
from vox_populi.plan.plan_report import plan_as_json, plan_as_text


@pytest.fixture
def plan(
    make_contract: Callable[..., FinetuneContract],
    make_inventory: Callable[..., ModelInventory],
    cpu_machine: MachineFacts,
) -> ExecutionPlan:
    data = DataFacts(n_train_rows=100, n_valid_rows=10, longest_row=60)
    contract, inventory = make_contract(), make_inventory("gpt2")
    chosen = choose_graph(contract, inventory)
    return plan_execution(contract, inventory, chosen, data, cpu_machine)


def test_text_names_every_decision_and_every_note(plan: ExecutionPlan) -> None:
    text = plan_as_text(plan)
    for word in ("burn_lora", "full_graph_v1", "gpt2", "q+k+v x 2", "float32", "warm-up", "100"):
        assert word in text
    assert all(f"note: {note}" in text for note in plan.notes)
    assert plan.notes


def test_text_shows_each_term_of_memory(plan: ExecutionPlan) -> None:
    text = plan_as_text(plan)
    for name, _ in plan.memory.terms():
        assert f"memory: {name.replace('_', ' ')}" in text
    assert "8,192.0 MiB there" in text
    unknown = plan_as_text(replace(plan, memory_available=None))
    assert "there" not in unknown.partition("memory: total")[2].partition("\n")[0]


def test_text_has_no_trailing_spaces(plan: ExecutionPlan) -> None:
    assert all(line == line.rstrip() for line in plan_as_text(plan).splitlines())


def test_json_is_json_and_sums_up(plan: ExecutionPlan) -> None:
    value = json.loads(json.dumps(plan_as_json(plan), allow_nan=False))
    memory = value["memory_bytes"]
    assert memory.pop("total") == sum(memory.values()) == plan.memory.total
    assert value["execution_kernel"] == "burn_lora"
    assert value["adapter"]["modules"][0] == "transformer.h.0.attn.c_attn"
    assert value["adapter"]["trainable_parameters"] == plan.n_trainable
    assert value["fits"] is True


def test_a_lora_plan_says_nothing_of_qlora(plan: ExecutionPlan) -> None:
    assert not {"quantization", "proxy_stack", "candle_compat_mode"} & plan_as_json(plan).keys()
    assert "nf4" not in plan_as_text(plan)


def test_a_qlora_plan_shows_graph_quantisation_and_stack(
    make_contract: Callable[..., FinetuneContract],
    make_inventory: Callable[..., ModelInventory],
    cpu_machine: MachineFacts,
) -> None:
    contract = make_contract(
        backend=Backend.QLORA,
        tokenizer=TokenizerKind.HF,
        qlora=QloraSpec(graph=QloraGraph.PROXY, ce_last_k=2, double_quant=False),
    )
    data = DataFacts(n_train_rows=100, n_valid_rows=10, longest_row=60)
    inventory = make_inventory("gpt2")
    chosen = choose_graph(contract, inventory)
    made = plan_execution(contract, inventory, chosen, data, cpu_machine)
    text, value = plan_as_text(made), json.loads(json.dumps(plan_as_json(made)))
    for words in (
        "candle_qlora (proxy_stack_v1_residual, candle_qlora_proxy_v1_k2)",
        "nf4, blocks of 64, single quantisation",
        "2 of 2 output projections",
        "not a full-graph loss",
        "memory: packed weights",
    ):
        assert words in text
    assert value["candle_compat_mode"] is True
    assert value["ce_last_k"] == 2
    assert value["proxy_stack"] == {
        "eligible": True,
        "complete": True,
        "keys_matched": 2,
        "keys_expected": 2,
        "missing": [],
        "middle_layers_active": 2,
    }
    quantization = value["quantization"]
    assert (quantization["double_quant"], quantization["block_size"]) == (False, 64)
    assert quantization["dense_copy_bytes"].keys() == {"none", "layer", "step"}
    memory = value["memory_bytes"]
    assert memory.pop("total") == sum(memory.values()) == made.memory.total


def test_json_names_the_base_without_its_place(plan: ExecutionPlan) -> None:
    value = plan_as_json(plan)
    assert isinstance(value["model"], dict)
    assert value["model"]["name"] == "gpt2"
    assert "models" not in json.dumps(value)
