from __future__ import annotations

from typing import Any

import pytest

from vox_populi.errors import ModelError
from vox_populi.hf.families import olmo2, olmo3
from vox_populi.hf.keymap import tensor_keys
from vox_populi.hf.model_config import ModelConfig, parse_model_config
from vox_populi.hf.rope_config import RopeKind, RopeSpec

TWO = {**olmo2.FAMILY.tiny}
THREE = {**olmo3.FAMILY.tiny}
for name in ("rope_parameters", "layer_types", "sliding_window"):
    del THREE[name]
YARN = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 4}


def parsed(raw: dict[str, Any], **changes: Any) -> ModelConfig:
    return parse_model_config(raw | changes, "config.json")


def problems_of(raw: dict[str, Any], **changes: Any) -> str:
    with pytest.raises(ModelError) as caught:
        parsed(raw, **changes)
    return str(caught.value)


def test_norms_are_behind_attention_and_mlp_and_over_all_heads() -> None:
    config = parsed(TWO)
    shapes = {key.theirs: key.shape for key in tensor_keys(config) if "norm" in key.theirs}
    assert {name: shape for name, shape in shapes.items() if ".1." not in name} == {
        "model.layers.0.self_attn.q_norm.weight": (16,),
        "model.layers.0.self_attn.k_norm.weight": (8,),
        "model.layers.0.post_attention_layernorm.weight": (16,),
        "model.layers.0.post_feedforward_layernorm.weight": (16,),
        "model.norm.weight": (16,),
    }
    assert (config.local_rope, config.sliding_window) == (None, None)


def test_three_of_four_layers_of_olmo3_slide_unless_the_file_says_otherwise() -> None:
    config = parsed(THREE, num_hidden_layers=5)
    assert config.sliding_layers == (True, True, True, False, True)
    assert config.sliding_window == 4096
    listed = parsed(THREE, layer_types=["full_attention", "sliding_attention"], sliding_window=3)
    assert (listed.sliding_layers, listed.sliding_window) == ((False, True), 3)
    assert "layer_types" in problems_of(
        THREE, layer_types=["sliding_attention"] * 2, sliding_window=None
    )


def test_layers_that_slide_rotate_by_the_plain_rule() -> None:
    plain = RopeSpec(kind=RopeKind.DEFAULT, theta=500_000.0)
    silent = parsed(THREE)
    assert (silent.rope, silent.local_rope) == (plain, plain)
    old = parsed(THREE, rope_theta=500_000, rope_scaling=YARN)
    new = parsed(THREE, rope_parameters={"full_attention": {**YARN, "rope_theta": 500_000}})
    assert old.rope is not None
    assert old.rope.kind is RopeKind.YARN
    assert (old.rope, old.local_rope) == (new.rope, new.local_rope)
    assert old.local_rope == plain


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rope_theta": 10_000.0}, "rope_theta"),
        ({"rope_parameters": {**YARN, "rope_theta": 500_000.0}}, "rope_type"),
        ({"rope_parameters": {"sliding_attention": {"rope_type": "dynamic"}}}, "dynamic"),
        ({"rope_parameters": {"full_attention": YARN}, "rope_scaling": YARN}, "rope_scaling"),
    ],
)
def test_rotations_that_are_not_defined_for_both_kinds_of_layers_are_refused(
    changes: dict[str, Any], said: str
) -> None:
    assert said in problems_of(THREE, **changes)
