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
def test_all_stands_for_the_default(text: str) -> None:
    assert parse_targets(text) is None


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
