"""Toys of configs: every kind of layer, and windows that short rows reach over."""

from __future__ import annotations

from vox_populi.hf.small_config import small_config


def test_sizes_shrink_and_structure_stays() -> None:
    small = small_config(
        {
            "model_type": "any",
            "hidden_size": 4096,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "sliding_window": 4096,
            "attention_bias": True,
            "eos_token_id": 151_645,
            "rope_parameters": {"factor": 8.0, "original_max_position_embeddings": 8192},
        }
    )
    assert small["model_type"] == "any"
    assert small["attention_bias"] is True
    assert (small["num_attention_heads"], small["num_key_value_heads"]) == (4, 2)
    assert (small["num_hidden_layers"], small["sliding_window"]) == (4, 5)
    assert small["eos_token_id"] == 2
    assert small["rope_parameters"] == {"factor": 8.0, "original_max_position_embeddings": 8}


def test_as_many_key_heads_as_query_heads_stay_as_many() -> None:
    sizes = {"num_attention_heads": 40, "num_key_value_heads": 40}
    assert small_config(sizes)["num_key_value_heads"] == 4
    assert small_config({**sizes, "num_key_value_heads": 1})["num_key_value_heads"] == 1


def test_each_kind_of_layer_is_kept_with_its_entries_in_every_list() -> None:
    kinds = ["a"] * 7 + ["b"] + ["a"] * 2
    small = small_config(
        {"num_hidden_layers": 10, "layer_types": kinds, "no_rope_layers": list(range(10))}
    )
    assert small["layer_types"] == ["a", "a", "a", "b"]
    assert small["no_rope_layers"] == [0, 1, 2, 7]
    assert small["num_hidden_layers"] == 4


def test_a_model_that_is_small_already_stays() -> None:
    settings = {"hidden_size": 16, "num_hidden_layers": 2, "layer_types": ["a", "b"]}
    assert small_config(settings) == settings


def test_tables_by_layer_keep_the_entries_of_kept_layers() -> None:
    kinds = ["sliding"] * 5 + ["full"]
    tables = {"per_layer_config": {"5": {"head_dim": 512}}, "other": {}}
    small = small_config({"num_hidden_layers": 6, "layer_types": kinds, **tables})
    assert small["layer_types"] == ["sliding"] * 3 + ["full"]
    assert small["per_layer_config"] == {"3": {"head_dim": 16}}
    assert small["other"] == {}


def test_layers_that_share_keys_follow_one_of_their_kind() -> None:
    kinds = ["sliding", "sliding", "full"] * 4
    small = small_config({"num_hidden_layers": 12, "layer_types": kinds, "num_kv_shared_layers": 6})
    assert small["layer_types"] == ["sliding", "full"] * 2
    assert (small["num_hidden_layers"], small["num_kv_shared_layers"]) == (4, 2)


def test_a_text_model_within_another_shrinks_alone() -> None:
    vision = {"hidden_size": 1152, "depth": 27}
    small = small_config(
        {
            "vision_config": vision,
            "text_config": {
                "hidden_size": 4096,
                "num_hidden_layers": 40,
                "layer_types": ["a"] * 40,
            },
        }
    )
    assert small["vision_config"] == vision
    assert small["text_config"] == {
        "hidden_size": 64, "num_hidden_layers": 4, "layer_types": ["a"] * 4
    }  # fmt: skip


def test_the_parts_of_a_rotated_head_shrink_with_it() -> None:
    rope = {"rope_type": "default", "mrope_section": [16, 24, 24]}
    sizes = {"hidden_size": 3584, "num_attention_heads": 28}
    assert small_config({**sizes, "rope_scaling": rope})["rope_scaling"] == {
        "rope_type": "default", "mrope_section": [2, 3, 3]
    }  # fmt: skip
    partly = {"rope_parameters": {"mrope_section": [11, 11, 10], "partial_rotary_factor": 0.25}}
    found = small_config({"head_dim": 256, **partly})["rope_parameters"]
    assert found == {"mrope_section": [2, 0, 0], "partial_rotary_factor": 0.25}


def test_heads_of_mixers_fill_their_inner_width_in_a_narrow_toy_too() -> None:
    sizes = {"hidden_size": 4096, "mamba_n_heads": 128, "mamba_d_head": 64, "mamba_expand": 2}
    assert small_config(sizes)["mamba_d_head"] == 32
    assert small_config({**sizes, "hidden_size": 32})["mamba_d_head"] == 16
    own = {"hidden_size": 4096, "num_heads": 128, "head_dim": 64, "expand": 2}
    assert small_config(own) == {"hidden_size": 64, "num_heads": 8, "head_dim": 16, "expand": 2}
