from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vox_populi.hf.keymap import (
    ProjectionRole,
    adapter_modules,
    conv1d_part,
    ordered_middle_projection_keys,
    tensor_keys,
)
from vox_populi.hf.model_config import ModelConfig, parse_model_config

Config = dict[str, Any]
R = ProjectionRole


def parsed(raw: Config, **changes: Any) -> ModelConfig:
    return parse_model_config(raw | changes, "config.json")


@pytest.mark.requirement("1b")
def test_hf_keymap_gives_every_llama_tensor_its_shape(
    llama: Config, shapes_of_llama: dict[str, tuple[int, ...]]
) -> None:
    keys = tensor_keys(parsed(llama))
    assert {key.theirs: key.shape for key in keys} == shapes_of_llama
    assert all(key.required and not key.transposed for key in keys)


@pytest.mark.requirement("1b")
def test_hf_keymap_gives_every_gpt2_tensor_its_shape(
    gpt2: Config, shapes_of_gpt2: Callable[[str], dict[str, tuple[int, ...]]]
) -> None:
    keys = tensor_keys(parsed(gpt2))
    expected = shapes_of_gpt2("transformer.") | {"lm_head.weight": (24, 8)}
    assert {key.theirs: key.shape for key in keys} == expected


@pytest.mark.requirement("1b")
def test_hf_keymap_gives_every_phi3_tensor_its_shape(
    llama: Config, shapes_of_llama: dict[str, tuple[int, ...]]
) -> None:
    keys = tensor_keys(parsed(llama, model_type="phi3", architectures=["Phi3ForCausalLM"]))
    fused = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
    expected = {
        name: shape for name, shape in shapes_of_llama.items() if not any(f in name for f in fused)
    }
    for layer in range(2):
        expected[f"model.layers.{layer}.self_attn.qkv_proj.weight"] = (8 + 4 + 4, 8)
        expected[f"model.layers.{layer}.mlp.gate_up_proj.weight"] = (2 * 12, 8)
    assert {key.theirs: key.shape for key in keys} == expected
    modules = adapter_modules(parsed(llama, model_type="phi3", architectures=None))
    assert [m.roles for m in modules[:4]] == [(R.Q, R.K, R.V), (R.O,), (R.GATE, R.UP), (R.DOWN,)]
    assert (modules[2].in_features, modules[2].out_features) == (8, 24)


@pytest.mark.requirement("1b")
def test_hf_keymap_turns_conv1d_weights_and_nothing_else(gpt2: Config) -> None:
    turned = {key.ours: key.our_shape for key in tensor_keys(parsed(gpt2)) if key.transposed}
    block = {"attn.qkv": (24, 8), "attn.o": (8, 8), "mlp.up": (32, 8), "mlp.down": (8, 32)}
    assert turned == {
        f"blocks.{layer}.{name}.weight": shape
        for layer in range(2)
        for name, shape in block.items()
    }


@pytest.mark.requirement("1b")
def test_hf_keymap_names_are_one_to_one(llama: Config, gpt2: Config) -> None:
    for raw in (llama, gpt2):
        keys = tensor_keys(parsed(raw))
        assert len({key.ours for key in keys}) == len({key.theirs for key in keys}) == len(keys)


@pytest.mark.requirement("1b")
def test_hf_keymap_requires_a_head_only_when_it_is_not_tied(llama: Config) -> None:
    for tied in (True, False):
        head = tensor_keys(parsed(llama, tie_word_embeddings=tied))[-1]
        assert (head.ours, head.theirs, head.required) == ("lm_head.weight",) * 2 + (not tied,)


@pytest.mark.parametrize(
    ("family", "added"),
    [
        ("llama", set()),
        ("mistral", set()),
        ("qwen2", {"attn.q.bias", "attn.k.bias", "attn.v.bias"}),
        ("qwen3", {"attn.q_norm.weight", "attn.k_norm.weight"}),
    ],
)
@pytest.mark.requirement("1b")
def test_hf_keymap_of_each_family(llama: Config, family: str, added: set[str]) -> None:
    plain = {key.ours for key in tensor_keys(parsed(llama))}
    config = parsed(llama, model_type=family, architectures=None, head_dim=2)
    found = {key.ours for key in tensor_keys(config)}
    assert found - plain == {f"blocks.{layer}.{name}" for layer in range(2) for name in added}
    assert plain <= found


@pytest.mark.requirement("1b")
def test_hf_keymap_has_the_biases_that_llama_asks_for(llama: Config) -> None:
    config = parsed(llama, attention_bias=True, mlp_bias=True)
    biases = {key.ours: key.shape for key in tensor_keys(config) if key.ours.endswith(".bias")}
    assert len(biases) == 2 * 7
    assert biases["blocks.1.attn.k.bias"] == (4,)
    assert biases["blocks.0.mlp.gate.bias"] == (12,)


@pytest.mark.requirement("1b")
def test_hf_keymap_adapter_modules_come_in_forward_order(llama: Config, gpt2: Config) -> None:
    modules = adapter_modules(parsed(llama))
    block = [(R.Q,), (R.K,), (R.V,), (R.O,), (R.GATE,), (R.UP,), (R.DOWN,)]
    assert [module.roles for module in modules] == [*block, *block, (R.LM_HEAD,)]
    assert modules[8].theirs == "model.layers.1.self_attn.k_proj"
    assert (modules[8].ours, modules[8].in_features, modules[8].out_features) == (
        "blocks.1.attn.k",
        8,
        4,
    )
    fused = adapter_modules(parsed(gpt2))
    assert [module.roles for module in fused[:4]] == [(R.Q, R.K, R.V), (R.O,), (R.UP,), (R.DOWN,)]
    assert fused[4].theirs == "transformer.h.1.attn.c_attn"
    assert [module.fan_in_fan_out for module in fused] == [True] * 8 + [False]
    assert (fused[0].in_features, fused[0].out_features) == (8, 24)


@pytest.mark.requirement("1b")
def test_hf_keymap_adapter_modules_are_weights_of_the_same_table(
    llama: Config, gpt2: Config
) -> None:
    for raw in (llama, gpt2):
        config = parsed(raw)
        by_name = {key.ours: key for key in tensor_keys(config)}
        for module in adapter_modules(config):
            key = by_name[f"{module.ours}.weight"]
            assert key.theirs == f"{module.theirs}.weight"
            assert key.our_shape == (module.out_features, module.in_features)
            assert key.transposed == module.fan_in_fan_out


@pytest.mark.requirement("1b")
def test_hf_keymap_middle_projections_in_layer_order(llama: Config, gpt2: Config) -> None:
    assert ordered_middle_projection_keys(parsed(llama)) == (
        "model.layers.0.self_attn.o_proj.weight",
        "model.layers.1.self_attn.o_proj.weight",
    )
    assert ordered_middle_projection_keys(parsed(gpt2)) == (
        "transformer.h.0.attn.c_proj.weight",
        "transformer.h.1.attn.c_proj.weight",
    )


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("transformer.h.0.attn.c_attn", "attn.qkv"),
        ("h.11.attn.c_proj", "attn.o"),
        ("transformer.h.3.mlp.c_fc", "mlp.up"),
        ("h.3.mlp.c_proj", "mlp.down"),
        ("transformer.h.0.ln_1", None),
        ("transformer.h.x.mlp.c_fc", None),
        ("model.layers.0.mlp.down_proj", None),
        ("lm_head", None),
    ],
)
def test_layers_that_are_stored_turned_are_known_by_name(path: str, part: str | None) -> None:
    assert conv1d_part(path) == part
