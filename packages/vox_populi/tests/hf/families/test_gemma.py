from __future__ import annotations

from typing import Any

import pytest

from vox_populi.errors import ModelError
from vox_populi.hf.families import gemma2, gemma3
from vox_populi.hf.keymap import tensor_keys
from vox_populi.hf.model_config import ModelConfig, parse_model_config
from vox_populi.hf.rope_config import RopeKind, RopeSpec

TWO: dict[str, Any] = {**gemma2.FAMILY.tiny}
THREE: dict[str, Any] = {**gemma3.FAMILY.tiny}
SAID = ("layer_types", "rope_theta", "rope_scaling", "rope_local_base_freq")
PLAIN = {name: value for name, value in THREE.items() if name not in SAID}


def parsed(raw: dict[str, Any], **changes: Any) -> ModelConfig:
    return parse_model_config(raw | changes, "config.json")


def silent(raw: dict[str, Any], *names: str) -> ModelConfig:
    """The config of a file without these fields."""
    return parsed({name: value for name, value in raw.items() if name not in names})


def problems_of(raw: dict[str, Any], **changes: Any) -> str:
    with pytest.raises(ModelError) as caught:
        parsed(raw, **changes)
    return str(caught.value)


def test_caps_are_the_defaults_of_the_class_where_the_file_is_silent_and_none_for_null() -> None:
    names = ("attn_logit_softcapping", "final_logit_softcapping")
    config = silent(TWO, *names)
    assert (config.attention_cap, config.logit_cap) == (50.0, 30.0)
    config = parsed(TWO)
    assert (config.attention_cap, config.logit_cap) == (2.0, 3.0)
    config = parsed(TWO, **dict.fromkeys(names))
    assert (config.attention_cap, config.logit_cap) == (None, None)
    config = silent(THREE, *names)
    assert (config.attention_cap, config.logit_cap) == (None, None)


def test_scales_of_embeddings_and_scores() -> None:
    for raw in (TWO, THREE):
        config = parsed(raw, query_pre_attn_scalar=25)
        assert config.embedding_scale == 4.0
        assert config.attention_scale == pytest.approx(0.2)
        assert silent(raw, "query_pre_attn_scalar").attention_scale == pytest.approx(1 / 16)


def test_four_norms_and_in_gemma3_those_of_each_head() -> None:
    for raw, is_headwise in ((TWO, False), (THREE, True)):
        names = {key.theirs for key in tensor_keys(parsed(raw)) if ".0." in key.theirs}
        norms = {
            "input_layernorm",
            "post_attention_layernorm",
            "pre_feedforward_layernorm",
            "post_feedforward_layernorm",
            *(("self_attn.q_norm", "self_attn.k_norm") if is_headwise else ()),
        }
        expected = {f"model.layers.0.{name}.weight" for name in norms}
        assert {name for name in names if "norm" in name} == expected


def test_every_other_layer_of_gemma2_slides_and_five_of_six_of_gemma3() -> None:
    config = parsed(TWO, num_hidden_layers=3)
    assert config.sliding_layers == (True, False, True)
    config = parsed(PLAIN, num_hidden_layers=7)
    assert config.sliding_layers == (True,) * 5 + (False, True)
    config = parsed(PLAIN, num_hidden_layers=4, sliding_window_pattern=2)
    assert config.sliding_layers == (True, False, True, False)


def test_gemma3_rotates_by_two_bases() -> None:
    local = RopeSpec(kind=RopeKind.DEFAULT, theta=10_000.0)
    assert parsed(PLAIN).rope == RopeSpec(kind=RopeKind.DEFAULT, theta=1_000_000.0)
    assert parsed(PLAIN).local_rope == local
    old = parsed(THREE)
    full = {"rope_type": "linear", "factor": 4.0, "rope_theta": 1000.0}
    sliding = {"rope_type": "default", "rope_theta": 100.0}
    kinds = {"full_attention": full, "sliding_attention": sliding}
    new = parsed(PLAIN, rope_parameters=kinds)
    assert (old.rope, old.local_rope) == (new.rope, new.local_rope)
    assert new.local_rope == RopeSpec(kind=RopeKind.DEFAULT, theta=100.0)
    assert new.rope == RopeSpec(kind=RopeKind.LINEAR, theta=1000.0, factor=4.0)


def test_fields_that_the_class_has_defaults_for_may_be_missing() -> None:
    """Published folders of transformers 4 hold what differs from them alone."""
    names = ("num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size")
    config = silent(THREE, *names)
    assert (config.n_heads, config.n_kv_heads, config.head_dim) == (8, 4, 256)
    assert config.vocab_size == 262_208
    assert config.tie_word_embeddings


@pytest.mark.parametrize(
    ("raw", "changes", "said"),
    [
        (TWO, {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        (THREE, {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        (THREE, {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        (TWO, {"final_logit_softcapping": 0}, "final_logit_softcapping"),
        (TWO, {"query_pre_attn_scalar": -1}, "query_pre_attn_scalar"),
        (THREE, {"sliding_window_pattern": 0}, "sliding_window_pattern"),
    ],
)
def test_what_is_not_computed_is_refused_by_name(
    raw: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    assert said in problems_of(raw, **changes)
