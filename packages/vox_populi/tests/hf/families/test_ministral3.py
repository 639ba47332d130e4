from __future__ import annotations

from typing import Any

import pytest

from vox_populi.errors import ModelError
from vox_populi.hf.model_config import ModelConfig, parse_model_config
from vox_populi.hf.rope_config import RopeKind

Config = dict[str, Any]
YARN = {
    "rope_type": "yarn",
    "rope_theta": 1000.0,
    "factor": 8.0,
    "original_max_position_embeddings": 4,
    "llama_4_scaling_beta": 0.25,
}


def parsed(raw: Config, **changes: Any) -> ModelConfig:
    bare = {key: value for key, value in raw.items() if key != "rope_parameters"}
    names = {"model_type": "ministral3", "architectures": ["Ministral3ForCausalLM"]}
    return parse_model_config(bare | names | changes, "config.json")


def codes(raw: Config, **changes: Any) -> list[str]:
    with pytest.raises(ModelError) as caught:
        parsed(raw, **changes)
    return [f"{problem.code} {problem.what}" for problem in caught.value.problems]


def test_queries_grow_by_what_the_rotary_settings_say(llama: Config) -> None:
    rope = parsed(llama, rope_parameters=YARN).rope
    assert rope is not None
    assert (rope.kind, rope.query_growth, rope.original_max_positions) == (RopeKind.YARN, 0.25, 4)
    still = parsed(llama, rope_parameters=YARN | {"llama_4_scaling_beta": 0}).rope
    assert still is not None
    assert still.query_growth == 0


def test_a_file_without_rotary_settings_has_those_of_its_class(llama: Config) -> None:
    del llama["num_key_value_heads"]
    config = parsed(llama, num_attention_heads=8)
    assert (config.n_kv_heads, config.head_dim) == (8, 128)
    rope = config.rope
    assert rope is not None
    assert (rope.kind, rope.theta, rope.factor) == (RopeKind.YARN, 1e6, 16.0)
    assert (rope.original_max_positions, rope.query_growth) == (16_384, 0.1)
    assert (rope.mscale, rope.mscale_all_dim) == (1.0, 1.0)


def test_a_file_must_say_how_queries_grow(llama: Config) -> None:
    silent = {key: value for key, value in YARN.items() if key != "llama_4_scaling_beta"}
    (text,) = codes(llama, rope_parameters=silent)
    assert text.startswith("MENS-H011")
    assert "llama_4_scaling_beta" in text
    (text,) = codes(llama, rope_parameters=YARN | {"llama_4_scaling_beta": -1})
    assert text.startswith("MENS-H012")


@pytest.mark.parametrize("kind", ["default", "linear", "dynamic"])
def test_rules_without_a_first_context_are_refused(llama: Config, kind: str) -> None:
    texts = codes(llama, rope_parameters=YARN | {"rope_type": kind})
    assert texts[0].startswith("MENS-H013 rope_type")


def test_it_slides_in_every_layer_or_in_none(llama: Config) -> None:
    assert parsed(llama, rope_parameters=YARN).sliding_window is None
    sliding = parsed(llama, rope_parameters=YARN, sliding_window=7)
    assert sliding.sliding_layers == (True, True)
    listed = {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 7}
    (text,) = codes(llama, rope_parameters=YARN, **listed)
    assert text.startswith("MENS-H014")


def test_the_growth_is_ministral_s_alone(llama: Config) -> None:
    rope = parse_model_config(llama | {"rope_parameters": YARN}, "config.json").rope
    assert rope is not None
    assert rope.query_growth == 0
