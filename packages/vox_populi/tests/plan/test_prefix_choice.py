"""Whether what rows begin with alike is computed once, and what a plan says about it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from vox_populi.contract.choices import Backend, PrefixSharing, TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.qlora_spec import QloraGraph, QloraSpec
from vox_populi.contract.setting_groups import BatchSettings
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.model_config import ModelConfig
from vox_populi.hf.rope_config import RopeKind, RopeSpec
from vox_populi.pipeline.train import plan_training
from vox_populi.plan.execution_planner import DataFacts, ExecutionPlan, MachineFacts, plan_execution
from vox_populi.plan.graph_choice import choose_graph
from vox_populi.plan.plan_report import plan_as_json, plan_as_text
from vox_populi.plan.prefix_choice import (
    UNSHARED,
    PrefixChoice,
    PrefixSample,
    choose_prefixes,
    sample_prefixes,
)
from vox_tensor.lora_spec import LoraSpec

MakeContract = Callable[..., FinetuneContract]
MakeInventory = Callable[..., ModelInventory]

PROMPT = tuple(range(100, 140))


@pytest.fixture
def config(make_inventory: MakeInventory) -> ModelConfig:
    return make_inventory("llama").config


def test_prefixes_are_shared_unless_that_would_change_the_result(
    make_contract: MakeContract, config: ModelConfig
) -> None:
    assert choose_prefixes(make_contract(), config, "cpu", 60) == PrefixChoice(is_shared=True)
    dropped = choose_prefixes(make_contract(lora=LoraSpec(dropout=0.1)), config, "cpu", 60)
    assert not dropped.is_shared
    assert "dropout" in str(dropped.reason)
    elsewhere = choose_prefixes(make_contract(), config, "cuda", 60)
    assert not elsewhere.is_shared
    assert "cuda" in str(elsewhere.reason)


def test_never_is_never(make_contract: MakeContract, config: ModelConfig) -> None:
    asked = make_contract(batching=BatchSettings(share_prefixes=PrefixSharing.NEVER))
    choice = choose_prefixes(asked, config, "cpu", 60)
    assert not choice.is_shared
    assert "--share-prefixes never" in str(choice.reason)


def test_a_proxy_has_nothing_to_share(make_contract: MakeContract, config: ModelConfig) -> None:
    proxy = make_contract(
        backend=Backend.QLORA,
        tokenizer=TokenizerKind.HF,
        qlora=QloraSpec(graph=QloraGraph.PROXY),
    )
    assert choose_prefixes(proxy, config, "cpu", 60) == UNSHARED


def test_longrope_shares_only_among_rows_that_are_rotated_alike(
    make_contract: MakeContract, config: ModelConfig
) -> None:
    rope = RopeSpec(kind=RopeKind.LONGROPE, theta=1e4, original_max_positions=32)
    longrope = replace(config, rope=rope)
    assert choose_prefixes(make_contract(), longrope, "cpu", 32).is_shared
    assert not choose_prefixes(make_contract(), longrope, "cpu", 33).is_shared


def sampled(texts: Sequence[tuple[int, ...]], rows_per_step: int) -> PrefixSample:
    return sample_prefixes([len(text) for text in texts], texts.__getitem__, rows_per_step)


def test_a_sample_counts_what_a_step_would_compute() -> None:
    sample = sampled([(*PROMPT, 1000 + i, 2000 + i) for i in range(32)], 8)
    assert sample == PrefixSample(rows=32, tokens=32 * 42, distinct=4 * (40 + 8 * 2), common=40)
    assert sample.saved_part == pytest.approx(1 - 224 / 1344)


def test_a_sample_of_few_rows_takes_each_of_them_once() -> None:
    taken: list[int] = []

    def noted(index: int) -> tuple[int, ...]:
        taken.append(index)
        return (index, index + 1)

    sample = sample_prefixes([2] * 7, noted, 3)
    assert len(taken) == len(set(taken)) == 6
    assert (sample.rows, sample.distinct, sample.common) == (6, 12, 0)
    assert sampled([(1, 2)], 16).rows == 1


def test_a_sample_of_long_rows_is_small() -> None:
    assert sampled([tuple(range(i, i + 40_000)) for i in range(40)], 4).rows == 3


@pytest.fixture
def plan_of(
    make_contract: MakeContract, make_inventory: MakeInventory, cpu_machine: MachineFacts
) -> Callable[..., ExecutionPlan]:
    def build(sample: PrefixSample | None, **asked: object) -> ExecutionPlan:
        data = DataFacts(n_train_rows=100, n_valid_rows=10, longest_row=60, prefixes=sample)
        contract, inventory = make_contract(**asked), make_inventory("gpt2")
        return plan_execution(
            contract, inventory, choose_graph(contract, inventory), data, cpu_machine
        )

    return build


SAMPLE = PrefixSample(rows=32, tokens=1344, distinct=224, common=40)


def test_a_plan_says_what_is_shared_or_why_not(plan_of: Callable[..., ExecutionPlan]) -> None:
    shared = plan_of(SAMPLE)
    assert "shared prefixes" in plan_as_text(shared)
    assert "83 % of the tokens" in plan_as_text(shared)
    values = plan_as_json(shared)["shared_prefixes"]
    assert values == {
        "computed_once": True,
        "reason": None,
        "sampled_rows": 32,
        "sampled_tokens": 1344,
        "distinct_tokens": 224,
    }
    dropped = plan_of(SAMPLE, lora=LoraSpec(dropout=0.1))
    assert "dropout draws a mask for each row" in plan_as_text(dropped)


def test_a_plan_without_anything_to_share_says_nothing(
    plan_of: Callable[..., ExecutionPlan],
) -> None:
    for sample in (None, replace(SAMPLE, distinct=1344, common=0)):
        plan = plan_of(sample)
        assert "shared prefixes" not in plan_as_text(plan)
        assert "shared_prefixes" not in plan_as_json(plan)


def test_memory_is_planned_for_distinct_tokens(plan_of: Callable[..., ExecutionPlan]) -> None:
    batching = {"batching": BatchSettings(seq_len=64, batch_size=64, grad_accum=1)}
    shared, alone = plan_of(SAMPLE, **batching), plan_of(None, **batching)
    never = BatchSettings(
        seq_len=64, batch_size=64, grad_accum=1, share_prefixes=PrefixSharing.NEVER
    )
    assert shared.memory.activations < alone.memory.activations
    tokens = 40 + 64 * 20
    assert shared.memory.activations * 64 * 60 == alone.memory.activations * tokens
    assert plan_of(SAMPLE, batching=never).memory == alone.memory
    short = replace(SAMPLE, common=10)
    assert plan_of(short, **batching).memory == alone.memory, "it is not worth sharing"


def test_rows_with_a_system_prompt_in_common_are_planned_as_such(
    make_contract: MakeContract, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    rows = [
        {"system": "You know this island and its ferries. " * 2, "prompt": f"Q{i}", "response": "A"}
        for i in range(20)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "train.jsonl").write_text(text, encoding="utf-8")
    planned = plan_training(
        make_contract(data_dir=folder, model_dir=make_model(), batching=BatchSettings(seq_len=256))
    )
    sample = planned.preflight.facts.prefixes
    assert sample is not None
    assert sample.common > 60
    assert sample.saved_part > 0.5
    assert planned.plan.prefixes == PrefixChoice(is_shared=True)
