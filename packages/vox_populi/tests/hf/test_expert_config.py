"""Mixtures in `config.json`, and their tensors in both forms that folders have."""

from __future__ import annotations

from typing import Any

import pytest

from vox_populi.containers.safetensors_header import TensorInfo
from vox_populi.errors import ModelError
from vox_populi.hf.family_registry import family_of
from vox_populi.hf.fused_experts import fused_tensors
from vox_populi.hf.keymap import adapter_modules, canonical_name, tensor_keys
from vox_populi.hf.model_config import ModelConfig, parse_model_config


def parsed(name: str, **changes: Any) -> ModelConfig:
    family = family_of(name)
    assert family is not None
    raw = {**family.tiny, **changes}
    return parse_model_config({key: raw[key] for key in raw if raw[key] is not ...}, "config.json")


def code_of(name: str, **changes: Any) -> list[tuple[str, str]]:
    with pytest.raises(ModelError) as caught:
        parsed(name, **changes)
    return [(problem.code, problem.what) for problem in caught.value.problems]


def test_absent_fields_have_the_defaults_of_the_classes_in_transformers() -> None:
    names = ("num_experts", "num_experts_per_tok", "moe_intermediate_size", "norm_topk_prob")
    qwen = parsed("qwen3_moe", **dict.fromkeys(names, ...))
    assert qwen.experts is not None
    spec = qwen.experts
    assert (spec.count, spec.per_token, spec.width, spec.is_normalised) == (128, 8, 768, False)
    mixtral = parsed("mixtral", num_local_experts=..., num_experts_per_tok=..., rope_theta=...)
    assert mixtral.experts is not None
    assert (mixtral.experts.count, mixtral.experts.per_token) == (8, 2)
    assert mixtral.experts.is_normalised
    assert mixtral.rope is not None
    assert mixtral.rope.theta == 1e6


def test_steps_and_lists_choose_the_layers_that_are_a_mixture() -> None:
    layers = {"num_hidden_layers": 4}
    every = parsed("qwen3_moe", **layers).experts
    second = parsed("qwen3_moe", **layers, decoder_sparse_step=2, mlp_only_layers=[3]).experts
    assert every is not None
    assert every.layers == (True,) * 4
    assert second is not None
    assert second.layers == (False, True, False, False)


def test_a_dense_layer_of_a_mixture_has_an_ordinary_mlp() -> None:
    config = parsed("qwen3_moe", mlp_only_layers=[0])
    names = [key.theirs for key in tensor_keys(config)]
    assert "model.layers.0.mlp.gate_proj.weight" in names
    assert not any("layers.0.mlp.experts" in name for name in names)
    assert "model.layers.1.mlp.gate.weight" in names
    assert not any(module.theirs.endswith("mlp.gate") for module in adapter_modules(config))


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("qwen3_moe", {"num_experts_per_tok": 5}, "num_experts_per_tok"),
        ("qwen3_moe", {"num_experts": 0}, "num_experts"),
        ("qwen3_moe", {"mlp_only_layers": [-1]}, "mlp_only_layers"),
        ("qwen3_moe", {"mlp_only_layers": 1}, "mlp_only_layers"),
        ("qwen3_moe", {"decoder_sparse_step": 0}, "decoder_sparse_step"),
        ("qwen3_moe", {"norm_topk_prob": 1}, "norm_topk_prob"),
        ("mixtral", {"router_jitter_noise": 0.1}, "router_jitter_noise"),
        ("mixtral", {"num_local_experts": 2, "num_experts": 3}, "num_experts"),
    ],
)
def test_what_is_not_built_or_contradicts_itself_is_refused_by_name(
    name: str, changes: dict[str, Any], said: str
) -> None:
    ((_, what),) = code_of(name, **changes)
    assert said in what


@pytest.mark.parametrize(
    "kind", ["qwen2_moe", "deepseek_v3", "glm4_moe", "gpt_oss", "olmoe", "granitemoe"]
)
def test_other_mixtures_are_refused_by_their_type(kind: str) -> None:
    ((code, what),) = code_of("qwen3_moe", model_type=kind)
    assert code == "MENS-H010"
    assert kind in what


def test_the_router_loss_is_said_not_to_be_used() -> None:
    assert parsed("mixtral").notes == ()
    (note,) = parsed("mixtral", output_router_logits=True).notes
    assert "output_router_logits" in note


def test_a_fused_tensor_is_split_into_ranges_of_bytes() -> None:
    config = parsed("mixtral")
    fused = fused_tensors(config)
    prefix = "model.layers.1.block_sparse_moe.experts."
    assert {name for name in fused if "layers.1." in name} == {
        f"{prefix}gate_up_proj",
        f"{prefix}down_proj",
    }
    whole = fused[f"{prefix}gate_up_proj"]
    assert whole.shape == (4, 48, 16)
    info = TensorInfo("x", "BF16", whole.shape, "s", 100, 100 + 2 * 4 * 48 * 16)
    parts = dict(whole.split(info))
    assert len(parts) == 8
    size = 2 * 24 * 16
    third = parts[f"{prefix}1.w1.weight"]
    assert (third.start, third.end, third.shape) == (100 + 2 * size, 100 + 3 * size, (24, 16))
    assert parts[f"{prefix}3.w3.weight"].end == info.end
    known = {key.theirs: key.shape for key in tensor_keys(config)}
    assert all(known[name] == part.shape for name, part in parts.items())


def test_names_of_a_folder_that_transformers_5_did_not_convert_back_are_known() -> None:
    config = parsed("mixtral")
    long = "model.layers.0.block_sparse_moe.gate.weight"
    for name in (long, "model.layers.0.mlp.gate.weight", "layers.0.mlp.gate.weight"):
        assert canonical_name(config, name) == long
    assert canonical_name(config, "model.norm.weight") == "model.norm.weight"
