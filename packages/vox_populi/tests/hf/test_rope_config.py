from __future__ import annotations

import math
from typing import Any

import pytest

from vox_populi.hf.config_fields import ConfigFields
from vox_populi.hf.rope_config import RopeKind, RopeRule, RopeSpec, parse_rope

CONTEXT = 128
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}


HEAD_DIM = 8
PHI = RopeRule(
    kinds={"default": RopeKind.DEFAULT, "longrope": RopeKind.LONGROPE, "su": RopeKind.LONGROPE},
    partial=True,
    original_positions=32,
)
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.5, 2.0, 4],
    "long_factor": [2.0, 3.0, 4.0, 8.0],
}


def read(rule: RopeRule | None = None, **config: Any) -> tuple[RopeSpec, list[str]]:
    fields = ConfigFields(config, "config.json")
    spec = parse_rope(fields, CONTEXT, rule or RopeRule(), HEAD_DIM)
    return spec, [str(problem) for problem in fields.problems]


def spec_of(rule: RopeRule | None = None, **config: Any) -> RopeSpec:
    spec, problems = read(rule, **config)
    assert problems == []
    return spec


def test_silence_means_plain_rotation() -> None:
    assert spec_of() == RopeSpec(kind=RopeKind.DEFAULT, theta=10_000.0)
    assert spec_of(rope_scaling=None, rope_theta=5e5).theta == 500_000.0


@pytest.mark.parametrize(
    "rope",
    [{"rope_type": "default"}, {"rope_type": "linear", "factor": 2.0}, LLAMA3, YARN],
    ids=lambda rope: str(rope["rope_type"]),
)
def test_both_spellings_mean_the_same(rope: dict[str, Any]) -> None:
    new = spec_of(rope_parameters={**rope, "rope_theta": 300.0})
    old = spec_of(rope_scaling=rope, rope_theta=300.0)
    oldest = {key: value for key, value in rope.items() if key != "rope_type"}
    oldest["type"] = rope["rope_type"]
    assert new == old == spec_of(rope_scaling=oldest, rope_theta=300)
    assert (new.kind, new.theta) == (rope["rope_type"], 300.0)
    assert new != spec_of(rope_theta=300.0) or rope["rope_type"] == "default"


def test_llama3_and_yarn_fields() -> None:
    assert spec_of(rope_scaling=LLAMA3) == RopeSpec(
        kind=RopeKind.LLAMA3,
        theta=10_000.0,
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_positions=64,
    )
    full = YARN | {"beta_fast": 16, "beta_slow": 0, "mscale": 0.7, "truncate": False}
    assert spec_of(rope_parameters=full | {"attention_factor": 1.5}) == RopeSpec(
        kind=RopeKind.YARN,
        theta=10_000.0,
        factor=4.0,
        original_max_positions=32,
        beta_fast=16.0,
        beta_slow=1.0,
        attention_factor=1.5,
        mscale=0.7,
        truncate=False,
    )


def test_the_context_before_scaling() -> None:
    bare = {"rope_type": "yarn", "factor": 4.0}
    assert spec_of(rope_parameters=bare).original_max_positions == CONTEXT
    outer = spec_of(rope_parameters=YARN, original_max_position_embeddings=16)
    assert outer.original_max_positions == 16


def test_a_null_factor_is_the_ratio_of_contexts() -> None:
    assert spec_of(rope_parameters=YARN | {"factor": None}).factor == CONTEXT / 32


REFUSED: dict[str, dict[str, Any]] = {
    "dynamic without a factor": {"rope_scaling": {"rope_type": "dynamic"}},
    "longrope": {"rope_scaling": {"type": "longrope", "short_factor": [1], "long_factor": [1]}},
    "no factor": {"rope_scaling": {"type": "linear"}},
    "factor of zero": {"rope_scaling": {"type": "linear", "factor": 0}},
    "endless factor": {"rope_scaling": {"type": "linear", "factor": 10**400}},
    "infinite factor": {"rope_scaling": {"type": "linear", "factor": float("inf")}},
    "a factor that is true": {"rope_scaling": {"type": "linear", "factor": True}},
    "llama3 without its bounds": {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
    "llama3 with equal bounds": {"rope_scaling": LLAMA3 | {"high_freq_factor": 1.0}},
    "per layer": {"rope_parameters": {"full_attention": {"rope_type": "default"}}},
    "part of the head": {"partial_rotary_factor": 0.5},
    "part of the head inside": {"rope_parameters": {"partial_rotary_factor": 0.5}},
    "two bases": {"rope_theta": 5.0, "rope_parameters": {"rope_theta": 6.0}},
    "two kinds": {"rope_scaling": {"type": "linear", "rope_type": "yarn", "factor": 2.0}},
    "two spellings that differ": {"rope_scaling": YARN, "rope_parameters": {"rope_theta": 1e4}},
    "no mapping": {"rope_scaling": "yarn"},
    "a kind that is a number": {"rope_scaling": {"rope_type": 3}},
    "a base of one": {"rope_theta": 1},
    "truncate that is a number": {"rope_parameters": YARN | {"truncate": 0}},
}


@pytest.mark.parametrize("config", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_built_or_contradicts_itself_is_refused(config: dict[str, Any]) -> None:
    _, problems = read(**config)
    assert problems
    assert all("config.json" in problem for problem in problems)


def test_one_spelling_twice_is_not_a_contradiction() -> None:
    both = spec_of(rope_scaling=YARN, rope_parameters=YARN | {"rope_theta": 10_000.0})
    assert both == spec_of(rope_scaling=YARN)


def test_longrope_fields() -> None:
    spec = spec_of(PHI, rope_scaling=LONGROPE)
    assert spec == RopeSpec(
        kind=RopeKind.LONGROPE,
        theta=10_000.0,
        factor=CONTEXT / 32,
        original_max_positions=32,
        attention_factor=math.sqrt(1 + math.log(4) / math.log(32)),
        short_factors=(1.0, 1.5, 2.0, 4.0),
        long_factors=(2.0, 3.0, 4.0, 8.0),
    )
    assert [spec.is_long(length) for length in (1, 32, 33)] == [False, False, True]
    assert not spec_of(rope_scaling=YARN).is_long(CONTEXT)
    su = {**LONGROPE, "type": "su"}
    del su["rope_type"]
    assert spec_of(PHI, rope_scaling=su) == spec


def test_the_original_context_of_longrope_is_read_outside_rope_scaling_or_from_the_family() -> None:
    nested = LONGROPE | {"original_max_position_embeddings": 16}
    assert spec_of(PHI, rope_scaling=nested).original_max_positions == 32
    outer = spec_of(PHI, rope_scaling=nested, original_max_position_embeddings=64)
    assert (outer.original_max_positions, outer.factor) == (64, 2.0)


def test_the_attention_factor_of_longrope() -> None:
    assert spec_of(PHI, rope_scaling=LONGROPE | {"factor": 1.0}).attention_factor == 1.0
    given = LONGROPE | {"factor": 2, "attention_factor": 1.25}
    assert spec_of(PHI, rope_scaling=given).attention_factor == 1.25


def test_a_part_of_each_head_may_rotate_where_the_family_s_class_knows_that() -> None:
    half = spec_of(PHI, partial_rotary_factor=0.5)
    assert half.partial_factor == 0.5
    assert half == spec_of(PHI, rope_parameters={"partial_rotary_factor": 0.5})
    scaled = LONGROPE | {"short_factor": [1.0, 2.0], "long_factor": [3.0, 4.0]}
    both = spec_of(PHI, rope_scaling=scaled, partial_rotary_factor=0.5)
    assert (both.short_factors, both.long_factors) == ((1.0, 2.0), (3.0, 4.0))


REFUSED_OF_PHI: dict[str, dict[str, Any]] = {
    "a kind that its class does not know": {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
    "no lists": {"rope_scaling": {"rope_type": "longrope"}},
    "a list too short": {"rope_scaling": LONGROPE | {"short_factor": [1.0] * 3}},
    "a list too long for the part": {"rope_scaling": LONGROPE, "partial_rotary_factor": 0.5},
    "a divisor of zero": {"rope_scaling": LONGROPE | {"long_factor": [1.0, 0.0, 1.0, 1.0]}},
    "a divisor that is true": {"rope_scaling": LONGROPE | {"long_factor": [1.0, True, 1.0, 1.0]}},
    "a divisor that is text": {"rope_scaling": LONGROPE | {"long_factor": [1.0, "2", 1.0, 1.0]}},
    "an endless divisor": {"rope_scaling": LONGROPE | {"long_factor": [1.0, 10**400, 1.0, 1.0]}},
    "no list but a number": {"rope_scaling": LONGROPE | {"long_factor": 2.0}},
    "one token before scaling": {"rope_scaling": LONGROPE, "original_max_position_embeddings": 1},
    "more than the head": {"partial_rotary_factor": 1.5},
    "nothing of the head": {"partial_rotary_factor": 0},
    "two parts": {"partial_rotary_factor": 0.5, "rope_parameters": {"partial_rotary_factor": 0.75}},
    "another list": {"rope_scaling": LONGROPE | {"mid_factor": [1.0]}},
}


@pytest.mark.parametrize("config", REFUSED_OF_PHI.values(), ids=REFUSED_OF_PHI.keys())
def test_longrope_and_partial_rotation_refuse_what_has_no_meaning(config: dict[str, Any]) -> None:
    _, problems = read(PHI, **config)
    assert problems
    assert all("config.json" in problem for problem in problems)
