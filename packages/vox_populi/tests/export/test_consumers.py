"""What other programs cannot take of a family; each limit is passed by the family's tiny config."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vox_populi.adapters.peft.config import names_tensors
from vox_populi.export.consumers import Consumer, gguf_model_obstacles, mlx_path, obstacles
from vox_populi.export.mlx_lint import mlx_model_reasons
from vox_populi.hf.families import gemma3
from vox_populi.hf.family_registry import FAMILIES, family_of
from vox_populi.hf.keymap import adapter_modules
from vox_populi.hf.model_config import ModelConfig, parse_model_config
from vox_populi.hf.model_family import ModelFamily
from vox_populi.hf.module_table import ModuleTable


def config_of(name: str, **changes: object) -> ModelConfig:
    family = family_of(name)
    assert family is not None
    return parse_model_config({**family.tiny, **changes}, "test")


THREE = {**gemma3.FAMILY.tiny, "sliding_window_pattern": 2}
TWO_ROTATIONS = {
    **dict.fromkeys(("rope_theta", "rope_scaling", "rope_local_base_freq")),
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 1_000_000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
    },
}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_llama_cpp_takes_every_family_that_is_written_for_it(family: ModelFamily) -> None:
    config = parse_model_config(family.tiny, "test")
    is_written = family.gguf.architecture is not None
    reasons = list(gguf_model_obstacles(config))
    assert reasons == list(obstacles(Consumer.GGUF, config, (), 4))
    assert reasons == ([] if is_written else [f"GGUF files of {family.label} are not written"])


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe"])
def test_adapters_of_experts_are_for_peft_and_those_of_attention_for_all(name: str) -> None:
    config = config_of(name)
    every = adapter_modules(config)[:-1]
    assert list(obstacles(Consumer.PEFT, config, every, 4)) == []
    for consumer in (Consumer.VLLM, Consumer.MLX):
        (reason,) = obstacles(consumer, config, every, 4)
        assert "experts" in reason
        attention = [module for module in every if not module.in_expert]
        assert list(obstacles(consumer, config, attention, 4)) == []


def test_layers_whose_names_peft_takes_for_experts_are_named_as_tensors() -> None:
    config = config_of("llama")
    modules = adapter_modules(config)[:-1]
    attention = [module for module in modules if ".attn." in module.ours]
    table = ModuleTable(
        class_name="Glm4MoeForCausalLM",
        version="5.23.0",
        embed="model.embed_tokens",
        blocks="model.layers.",
        keys=(),
        modules=modules,
        layer_kinds=("block",),
        expert_names=frozenset({"gate_proj", "up_proj", "down_proj"}),
    )
    foreign = replace(config, modules=table)
    assert names_tensors(foreign, modules)
    assert not names_tensors(foreign, attention)
    assert not names_tensors(config, modules)
    assert list(obstacles(Consumer.PEFT, foreign, modules, 4)) == []


@pytest.mark.parametrize(
    ("changes", "left_out", "said"),
    [
        ({}, ".experts.1.", "some experts"),
        ({}, ".gate", "of gate and up"),
        ({"mlp_only_layers": [0]}, "nothing", "an ordinary MLP"),
    ],
)
def test_what_peft_has_no_form_for_is_named(
    changes: dict[str, object], left_out: str, said: str
) -> None:
    config = config_of("qwen3_moe", **changes)
    modules = [m for m in adapter_modules(config)[:-1] if left_out not in m.ours]
    (reason,) = obstacles(Consumer.PEFT, config, modules, 4)
    assert said in reason


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("gpt2", {"activation_function": "gelu"}, "GPT-2 computes GELU by the tanh formula"),
        ("qwen3", {"attention_bias": True}, "Qwen3 has no attention biases"),
        ("phi3", {"hidden_act": "gelu"}, "Phi-3 gates by SiLU"),
        ("granite", {"hidden_act": "gelu"}, "Granite gates by SiLU"),
        ("ministral3", {"hidden_act": "gelu"}, "Ministral 3 gates by SiLU"),
        ("smollm3", {"no_rope_layers": [0, 1, 1, 1]}, "all layers but every fourth"),
        ("smollm3", {"attention_bias": True}, "SmolLM3 has no attention biases"),
        ("phi3", {"head_dim": 4, "num_attention_heads": 2, "hidden_size": 10}, "as wide"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_named(
    name: str, changes: dict[str, object], said: str
) -> None:
    if "head_dim" in changes:
        changes = {**changes, "rope_scaling": None}
    (reason,) = gguf_model_obstacles(config_of(name, **changes))
    assert said in reason


def test_gpt2_has_no_adapters_in_vllm_and_no_head_of_its_own_in_mlx() -> None:
    config = config_of("gpt2", tie_word_embeddings=False)
    modules = adapter_modules(config)
    assert "GPT-2 has no LoRA layers" in next(obstacles(Consumer.VLLM, config, modules, 4))
    (reason,) = obstacles(Consumer.MLX, config, modules, 4)
    assert "always ties the head" in reason
    for name in ("llama", "phi3"):
        config = config_of(name)
        for consumer in Consumer:
            assert list(obstacles(consumer, config, adapter_modules(config), 4)) == []


def test_blocks_of_gpt2_have_another_place_in_mlx() -> None:
    gpt2, phi3 = config_of("gpt2"), config_of("phi3")
    assert mlx_path(adapter_modules(gpt2)[0], gpt2) == "model.h.0.attn.c_attn"
    assert mlx_path(adapter_modules(phi3)[0], phi3) == "model.layers.0.self_attn.qkv_proj"


@pytest.mark.parametrize(
    ("name", "raw", "said"),
    [
        ("qwen3", {"attention_bias": True}, ["no attention biases"]),
        ("gpt2", {"n_inner": 20, "n_ctx": 32}, ["four times as wide"]),
        ("gpt2", {"tie_word_embeddings": False, "n_ctx": 32}, ["ties the head"]),
        ("gpt2", {}, ["n_ctx"]),
        ("gemma2", {"query_pre_attn_scalar": 16}, ["no sliding window"]),
        ("gemma3_text", THREE, ["soft cap"]),
        ("gemma3_text", {**THREE, **TWO_ROTATIONS}, ["soft cap", "rope_parameters"]),
        ("olmo2", {"hidden_act": "gelu"}, ["gates by SiLU", "tie_word_embeddings"]),
        ("olmo3", {}, ["sliding_window", "rope_theta"]),
        ("phi3", {"sliding_window": 3}, ["no sliding window", "long list"]),
    ],
)
def test_reasons_why_mlx_cannot_load_a_model(
    name: str, raw: dict[str, object], said: list[str]
) -> None:
    reasons = list(mlx_model_reasons(config_of(name, **raw), raw, ()))
    assert len(reasons) == len(said)
    assert all(part in reason for part, reason in zip(said, reasons, strict=True))
