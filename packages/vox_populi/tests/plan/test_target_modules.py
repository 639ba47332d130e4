from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from vox_populi.contract.adapter_target import parse_targets
from vox_populi.hf.keymap import AdapterModule, ProjectionRole
from vox_populi.hf.model_config import ModelConfig
from vox_populi.hf.module_table import FrozenReason, FrozenWeight, ModuleTable
from vox_populi.plan.target_modules import coverage_notes, select_adapters

MakeConfig = Callable[..., ModelConfig]


def roles_of(config: ModelConfig, text: str) -> list[str]:
    selection = select_adapters(config, parse_targets(text))
    assert not selection.problems
    in_first_block = [m for m in selection.modules if m.ours.startswith(("blocks.0.", "lm_head"))]
    return ["+".join(module.roles) for module in in_first_block]


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("llama", ["q", "k", "v", "o", "gate", "up", "down"]),
        ("qwen3", ["q", "k", "v", "o", "gate", "up", "down"]),
        ("gpt2", ["q+k+v", "o", "up", "down"]),
        ("phi3", ["q+k+v", "o", "gate+up", "down"]),
    ],
)
def test_all_is_whatever_the_blocks_have(
    make_config: MakeConfig, family: str, expected: list[str]
) -> None:
    assert roles_of(make_config(family), "all") == expected
    assert roles_of(make_config(family), "all,lm_head") == [*expected, "lm_head"]


def test_named_roles_are_found_in_every_layer_in_forward_order(make_config: MakeConfig) -> None:
    modules = select_adapters(make_config(), parse_targets("down,q")).modules
    assert [module.ours for module in modules] == [
        "blocks.0.attn.q",
        "blocks.0.mlp.down",
        "blocks.1.attn.q",
        "blocks.1.mlp.down",
    ]


def test_an_unmatched_target_names_what_there_is(make_config: MakeConfig) -> None:
    selection = select_adapters(make_config("gpt2"), parse_targets("o,gate"))
    (problem,) = selection.problems
    assert problem.code == "MENS-P002"
    assert "gate" in problem.what
    assert "q,k,v,o,up,down,lm_head" in problem.fix
    assert selection.modules == ()


def test_part_of_a_fused_layer_is_refused_with_the_whole(make_config: MakeConfig) -> None:
    (problem,) = select_adapters(make_config("gpt2"), parse_targets("q,v,o")).problems
    assert problem.code == "MENS-P003"
    assert "transformer.h.0.attn.c_attn" in problem.what
    assert "--targets q,k,v,o" in problem.fix
    assert roles_of(make_config("gpt2"), "q,k,v,o") == ["q+k+v", "o"]


def test_gate_and_up_may_be_one_layer_too(make_config: MakeConfig) -> None:
    (problem,) = select_adapters(make_config("phi3"), parse_targets("up,down")).problems
    assert problem.code == "MENS-P003"
    assert "model.layers.0.mlp.gate_up_proj" in problem.what
    assert roles_of(make_config("phi3"), "gate,up,down") == ["gate+up", "down"]


def test_both_problems_of_one_request_are_reported(make_config: MakeConfig) -> None:
    problems = select_adapters(make_config("gpt2"), parse_targets("q,gate")).problems
    assert [problem.code for problem in problems] == ["MENS-P002", "MENS-P003"]


def foreign(config: ModelConfig) -> ModelConfig:
    """A config whose blocks are of two kinds: the second has nothing but an `o` and experts."""
    roles = {"q": ProjectionRole.Q, "o": ProjectionRole.O}
    modules = [
        AdapterModule(f"blocks.{block}.attn.{name}", f"layers.{block}.{name}", (role,), 8, 8, False)
        for block, names in enumerate(("qo", "o"))
        for name, role in roles.items()
        if name in names
    ]
    head = AdapterModule("lm_head", "lm_head", (ProjectionRole.LM_HEAD,), 8, 24, False)
    table = ModuleTable(
        class_name="AnyForCausalLM",
        version="5.23.0",
        embed="embed",
        blocks="layers.",
        keys=(),
        modules=(*modules, head),
        layer_kinds=("attention", "conv"),
        frozen=(FrozenWeight("layers.1.experts.up", FrozenReason.EXPERTS, 576),),
    )
    return replace(config, modules=table)


def test_a_role_must_be_in_every_kind_of_layer(make_config: MakeConfig) -> None:
    config = foreign(make_config("llama"))
    (problem,) = select_adapters(config, parse_targets("q,o")).problems
    assert problem.code == "MENS-P141"
    assert "conv" in problem.what
    assert len(select_adapters(config, parse_targets("o,lm_head")).modules) == 3
    assert len(select_adapters(config, None).modules) == 3


def test_the_share_of_what_cannot_be_adapted_is_said(make_config: MakeConfig) -> None:
    (note,) = coverage_notes(foreign(make_config("llama")))
    assert "experts 75.0%" in note
    assert not list(coverage_notes(make_config("llama")))
