from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.hf.inventory import ModelInventory
from vox_populi.plan.execution_planner import (
    DataFacts,
    ExecutionPlan,
    MachineFacts,
    plan_execution,
)
from vox_populi.plan.plan_report import plan_as_json, plan_as_text


@pytest.fixture
def plan(
    make_contract: Callable[..., FinetuneContract],
    make_inventory: Callable[..., ModelInventory],
    cpu_machine: MachineFacts,
) -> ExecutionPlan:
    data = DataFacts(n_train_rows=100, n_valid_rows=10, longest_row=60)
    return plan_execution(make_contract(), make_inventory("gpt2"), data, cpu_machine)


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


def test_json_names_the_base_without_its_place(plan: ExecutionPlan) -> None:
    value = plan_as_json(plan)
    assert isinstance(value["model"], dict)
    assert value["model"]["name"] == "gpt2"
    assert "models" not in json.dumps(value)
