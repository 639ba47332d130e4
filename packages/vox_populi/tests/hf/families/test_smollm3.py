from __future__ import annotations

from typing import Any

import pytest

from vox_populi.errors import ModelError
from vox_populi.hf.model_config import ModelConfig, parse_model_config

Config = dict[str, Any]


def parsed(raw: Config, **changes: Any) -> ModelConfig:
    changes = {"model_type": "smollm3", "architectures": ["SmolLM3ForCausalLM"], **changes}
    return parse_model_config(raw | changes, "config.json")


def test_every_fourth_layer_does_not_rotate(llama: Config) -> None:
    config = parsed(llama, num_hidden_layers=8)
    assert config.rotary_layers == (True, True, True, False) * 2
    assert config.rotates_three_of_four
    other = parsed(llama, num_hidden_layers=4, no_rope_layer_interval=2)
    assert other.rotary_layers == (True, False) * 2
    assert not other.rotates_three_of_four


def test_a_list_has_a_one_for_each_layer_that_rotates(llama: Config) -> None:
    config = parsed(llama, no_rope_layers=[0, 1, 1], no_rope_layer_interval=4)
    assert config.rotary_layers == (False, True)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"no_rope_layers": [1]}, "MENS-H014"),
        ({"no_rope_layers": []}, "MENS-H014"),
        ({"no_rope_layers": [1, 2]}, "MENS-H012"),
        ({"no_rope_layers": "1, 0"}, "MENS-H012"),
        ({"no_rope_layer_interval": 0}, "MENS-H012"),
    ],
)
def test_what_does_not_say_which_layers_rotate_is_refused(
    llama: Config, changes: Config, code: str
) -> None:
    with pytest.raises(ModelError) as caught:
        parsed(llama, **changes)
    assert [problem.code for problem in caught.value.problems] == [code]
    assert next(iter(changes)) in caught.value.problems[0].what


def test_defaults_are_those_of_its_class(llama: Config) -> None:
    for name in ("num_key_value_heads", "rms_norm_eps", "max_position_embeddings"):
        llama.pop(name, None)
    for name in ("tie_word_embeddings", "rope_parameters", "rope_theta"):
        llama.pop(name, None)
    config = parsed(llama)
    assert (config.n_kv_heads, config.max_positions, config.norm_eps) == (4, 32_768, 1e-6)
    assert config.tie_word_embeddings
    assert config.rope is not None
    assert config.rope.theta == 2_000_000.0


def test_a_window_is_in_the_layers_that_do_not_rotate_unless_they_are_listed(
    llama: Config,
) -> None:
    window = {"sliding_window": 7, "use_sliding_window": True, "no_rope_layers": [0, 1]}
    assert parsed(llama, **window).sliding_layers == (True, False)
    listed = ["full_attention", "sliding_attention"]
    assert parsed(llama, **window, layer_types=listed).sliding_layers == (False, True)
    off = window | {"use_sliding_window": False}
    assert parsed(llama, **off).sliding_window is None


def test_other_families_rotate_in_every_layer_or_in_none(llama: Config, gpt2: Config) -> None:
    config = parse_model_config(llama | {"no_rope_layers": [0, 0]}, "config.json")
    assert config.rotary_layers == (True, True)
    assert not any(parse_model_config(gpt2, "config.json").rotary_layers)
