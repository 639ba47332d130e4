from __future__ import annotations

import pytest

from vox_populi.contract.adapter_target import WholeBlocks, parse_targets, targets_as_text
from vox_populi.errors import ConfigError
from vox_populi.hf.keymap import ProjectionRole

Q, V, HEAD = ProjectionRole.Q, ProjectionRole.V, ProjectionRole.LM_HEAD


@pytest.mark.parametrize("text", ["q,v", "v,q", " Q , v ,", "q,v,q"])
def test_two_ways_to_write_a_request_are_one_request(text: str) -> None:
    assert parse_targets(text) == (Q, V)


@pytest.mark.parametrize("text", ["all", "ALL", "all,q", "q,all"])
def test_targets_all_is_the_default(text: str) -> None:
    assert parse_targets(text) is None


@pytest.mark.parametrize("text", ["q_proj,v_proj", "V_PROJ, q", "self_attn.q_proj,attn.v_proj"])
def test_the_names_of_other_programs_are_the_same_request(text: str) -> None:
    assert parse_targets(text) == (Q, V)
    assert parse_targets("output_proj") == parse_targets("o_proj") == parse_targets("o")
    assert parse_targets("qkv_proj") == parse_targets("q,k,v")
    assert parse_targets("self_attn.qkv_proj,gate_up_proj") == parse_targets("q,k,v,gate,up")
    assert parse_targets("mlp.gate_proj,up_proj,down_proj") == parse_targets("gate,up,down")


def test_every_linear_layer_in_the_words_of_peft_is_the_default() -> None:
    assert parse_targets("all-linear") is None
    assert parse_targets("all-linear,lm_head") == (WholeBlocks.ALL, HEAD)


@pytest.mark.parametrize("text", ["c_attn", "embed_tokens", "q_proj.x", "lm_head_proj"])
def test_a_name_that_is_nobodys_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="MENS-C001"):
        parse_targets(text)


def test_the_head_joins_only_when_named() -> None:
    assert parse_targets("lm_head,all") == (WholeBlocks.ALL, HEAD)
    assert parse_targets("lm_head") == (HEAD,)


def test_every_unknown_name_is_reported_with_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_targets("q,dwon,xyz,xyz")
    assert [problem.code for problem in caught.value.problems] == ["MENS-C001", "MENS-C001"]
    assert "down" in caught.value.problems[0].fix


@pytest.mark.parametrize("text", ["", " ", ",,"])
def test_an_empty_list_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="MENS-C004"):
        parse_targets(text)


@pytest.mark.parametrize("text", ["all", "q,v", "all,lm_head", "lm_head", "q,k,v,o,gate,up,down"])
def test_the_text_of_targets_is_read_back(text: str) -> None:
    assert targets_as_text(parse_targets(text)) == text
