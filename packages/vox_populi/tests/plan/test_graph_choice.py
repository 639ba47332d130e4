"""Graph, layers and what is in their way are found in one go, and once in a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from vox_populi.contract.adapter_target import parse_targets
from vox_populi.contract.choices import Backend, GraphId, TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.qlora_spec import QloraSpec
from vox_populi.hf.inventory import ModelInventory
from vox_populi.pipeline import train
from vox_populi.plan import graph_choice
from vox_populi.plan.graph_choice import choose_graph, target_problems
from vox_populi.plan.target_modules import TargetModules, select_adapters

MakeContract = Callable[..., FinetuneContract]
MakeInventory = Callable[..., ModelInventory]

QLORA = {"backend": Backend.QLORA, "tokenizer": TokenizerKind.HF}


def test_targets_and_weights_that_are_not_there_are_reported_together(
    make_contract: MakeContract, make_inventory: MakeInventory
) -> None:
    inventory = replace(make_inventory("gpt2"), missing=("transformer.h.0.attn.c_attn.weight",))
    chosen = choose_graph(make_contract(targets=parse_targets("gate"), **QLORA), inventory)
    assert [problem.code for problem in chosen.problems] == ["MENS-P002", "MENS-P020"]
    assert (chosen.graph, chosen.adapters) == (GraphId.FULL, ())
    sound = choose_graph(make_contract(**QLORA), make_inventory("gpt2"))
    assert sound.problems == ()
    assert sound.adapters


def test_a_stack_that_is_required_and_not_there_is_a_problem_of_the_choice(
    make_contract: MakeContract, make_inventory: MakeInventory
) -> None:
    whole = make_inventory("llama")
    name = "model.layers.0.self_attn.o_proj.weight"
    part = replace(whole, tensors={n: t for n, t in whole.tensors.items() if n != name})
    strict = make_contract(qlora=QloraSpec(require_full_proxy_stack=True), **QLORA)
    refused = choose_graph(strict, part)
    assert [name in str(problem) for problem in refused.problems] == [True]
    assert refused.graph == GraphId.HEAD_ONLY
    assert choose_graph(strict, whole).problems == ()


def test_targets_are_checked_where_there_is_a_config_alone(
    make_contract: MakeContract, make_inventory: MakeInventory
) -> None:
    config = make_inventory("gpt2").config
    wrong = make_contract(targets=parse_targets("gate"), **QLORA)
    assert [problem.code for problem in target_problems(wrong, config)] == ["MENS-P002"]
    proxy = make_contract(
        targets=parse_targets("gate"), qlora=QloraSpec(lm_head_only=True), **QLORA
    )
    assert target_problems(proxy, config) == ()


def test_a_plan_selects_the_adapted_layers_once(
    make_contract: MakeContract,
    make_model: Callable[..., Path],
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[TargetModules] = []

    def counted(*given: object) -> TargetModules:
        calls.append(select_adapters(*given))  # type: ignore[arg-type]
        return calls[-1]

    monkeypatch.setattr(graph_choice, "select_adapters", counted)
    planned = train.plan_training(make_contract(data_dir=data_dir, model_dir=make_model()))
    assert len(calls) == 1
    assert planned.plan.adapters is planned.preflight.graph.adapters is calls[0].modules
