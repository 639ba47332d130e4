from __future__ import annotations

from typing import Any

import pytest

from vox_populi.errors import ModelError
from vox_populi.hf.family_registry import family_of
from vox_populi.hf.graph_source import GraphSource
from vox_populi.hf.keymap import tensor_keys
from vox_populi.hf.model_config import parse_model_config

Config = dict[str, Any]


def tiny() -> Config:
    family = family_of("granitemoehybrid")
    assert family is not None
    return dict(family.tiny)


def test_a_dense_model_has_granite_s_factors_and_a_fused_gate() -> None:
    config = parse_model_config(tiny(), "config.json")
    assert (config.embedding_scale, config.residual_scale) == (3.0, 0.22)
    assert config.logit_scale == 1 / 1.5
    assert (config.intermediate_size, config.fused_gate_up) == (24, True)
    shapes = {key.theirs: key.shape for key in tensor_keys(config)}
    assert shapes["model.layers.1.shared_mlp.input_linear.weight"] == (48, 16)
    assert shapes["model.layers.1.shared_mlp.output_linear.weight"] == (16, 24)


OTHERS = [
    ("layer_types", ["attention", "mamba"]),
    ("layer_types", ["linear_attention", "full_attention"]),
    ("num_local_experts", 8),
    ("position_embedding_type", "nope"),
]


@pytest.mark.parametrize(("name", "value"), OTHERS)
def test_what_makes_it_a_hybrid_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ModelError, match=f"MENS-H013.*{name}"):
        parse_model_config(tiny() | {name: value}, "config.json")


@pytest.mark.parametrize("name", ["layer_types", "num_local_experts", "position_embedding_type"])
def test_silence_means_a_hybrid_to_its_class(name: str) -> None:
    with pytest.raises(ModelError, match=f"MENS-H011.*{name}"):
        parse_model_config(tiny() | {name: None}, "config.json")


def test_the_source_is_ours_for_a_dense_model_and_otherwise_transformers() -> None:
    for kind in ("attention", "full_attention"):
        dense = tiny() | {"layer_types": [kind, kind]}
        config = parse_model_config(dense, "config.json", GraphSource.AUTO)
        assert config.source is GraphSource.NATIVE
    pytest.importorskip("transformers", reason="needs vox-populi[mens-train]")
    mamba = {"mamba_n_heads": 4, "mamba_d_head": 8}
    for other in (dict(OTHERS[:1]), {"num_local_experts": 2}, {"position_embedding_type": None}):
        config = parse_model_config(tiny() | mamba | other, "config.json", GraphSource.AUTO)
        assert config.source is GraphSource.TRANSFORMERS
