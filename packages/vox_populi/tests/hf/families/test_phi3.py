from __future__ import annotations

from typing import Any

import pytest

from vox_populi.errors import ModelError
from vox_populi.hf.model_config import ModelConfig, parse_model_config
from vox_populi.hf.rope_config import RopeKind

Config = dict[str, Any]


def problems_of(raw: Config) -> list[str]:
    """Code and text of each problem."""
    with pytest.raises(ModelError) as caught:
        parse_model_config(raw, "config.json")
    return [f"{problem.code} {problem.what}" for problem in caught.value.problems]


def parsed(raw: Config, **changes: Any) -> ModelConfig:
    return parse_model_config(raw | changes, "config.json")


def test_phi3_fields_and_defaults(llama: Config) -> None:
    for name in ("num_key_value_heads", "rms_norm_eps", "max_position_embeddings"):
        llama.pop(name, None)
    raw = llama | {"model_type": "phi3", "architectures": ["Phi3ForCausalLM"]}
    config = parsed(raw, attention_bias=True, mlp_bias=True)
    assert (config.n_kv_heads, config.max_positions, config.norm_eps) == (4, 4096, 1e-5)
    assert not any((config.qkv_bias, config.o_bias, config.mlp_bias, config.qk_norm))
    assert config.fused_qkv
    assert config.fused_gate_up
    assert config.gated_mlp
    assert not config.layer_norm
    assert (config.sliding_window, config.rotary_dim) == (None, config.head_dim)
    assert parsed(raw, sliding_window=5).sliding_layers == (True, True)
    half = parsed(raw, head_dim=8, partial_rotary_factor=0.75)
    assert (half.rotary_dim, half.heads_fill_width) == (6, False)


@pytest.mark.parametrize(("head_dim", "factor"), [(4, 0.75), (2, 0.4), (6, 0.5)])
def test_phi3_rotates_whole_pairs_only(llama: Config, head_dim: int, factor: float) -> None:
    raw = llama | {"model_type": "phi3", "architectures": None, "head_dim": head_dim}
    (text,) = problems_of(raw | {"partial_rotary_factor": factor})
    assert text.startswith("MENS-H013 partial_rotary_factor")


@pytest.mark.parametrize("name", ["longrope", "su", "yarn"])
def test_longrope_has_had_three_names_and_starts_at_4096(llama: Config, name: str) -> None:
    rope = {"type": name, "short_factor": [1.0], "long_factor": [2.0]}
    raw = {key: value for key, value in llama.items() if key != "rope_parameters"}
    raw |= {"model_type": "phi3", "architectures": None, "rope_scaling": rope}
    found = parsed(raw, max_position_embeddings=131_072).rope
    assert found is not None
    assert (found.kind, found.original_max_positions) == (RopeKind.LONGROPE, 4096)
    assert found.factor == 32


def test_longrope_is_phi3_s_alone(llama: Config) -> None:
    rope = {"type": "longrope", "short_factor": [1.0], "long_factor": [2.0]}
    raw = {name: value for name, value in llama.items() if name != "rope_parameters"}
    raw |= {"rope_scaling": rope}
    phi3 = parsed(raw, model_type="phi3", architectures=None, original_max_position_embeddings=16)
    assert phi3.rope is not None
    assert phi3.rope.long_factors == (2.0,)
    assert any("MENS-H013 rope_type" in text for text in problems_of(raw))
