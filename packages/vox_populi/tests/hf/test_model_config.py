from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vox_populi.errors import ModelError
from vox_populi.hf.family_registry import FAMILIES
from vox_populi.hf.graph_source import GraphSource
from vox_populi.hf.keymap import tensor_keys
from vox_populi.hf.model_config import ModelConfig, parse_model_config, read_model_config
from vox_populi.hf.model_family import Activation, ModelFamily

Config = dict[str, Any]


def problems_of(raw: Config) -> list[str]:
    """Code and text of each problem."""
    with pytest.raises(ModelError) as caught:
        parse_model_config(raw, "config.json")
    return [f"{problem.code} {problem.what}" for problem in caught.value.problems]


def parsed(raw: Config, **changes: Any) -> ModelConfig:
    return parse_model_config(raw | changes, "config.json")


def test_llama_fields(llama: Config) -> None:
    config = parsed(llama)
    assert config.family.name == "llama"
    assert (config.vocab_size, config.hidden_size, config.intermediate_size) == (24, 8, 12)
    assert (config.n_layers, config.n_heads, config.n_kv_heads, config.head_dim) == (2, 4, 2, 2)
    assert (config.q_features, config.kv_features) == (8, 4)
    assert (config.norm_eps, config.activation) == (1e-5, Activation.SILU)
    assert (config.bos_id, config.eos_ids, config.dtype) == (1, (2,), "float32")
    assert not any((config.qkv_bias, config.o_bias, config.mlp_bias, config.qk_norm))
    assert not config.fused_qkv
    assert config.gated_mlp
    assert not config.layer_norm


def test_gpt2_fields(gpt2: Config) -> None:
    config = parsed(gpt2)
    assert config.rope is None
    assert config.tie_word_embeddings
    assert (config.intermediate_size, config.max_positions, config.head_dim) == (32, 16, 4)
    assert (config.activation, config.norm_eps) == (Activation.GELU_TANH, 1e-5)
    assert config.qkv_bias
    assert config.o_bias
    assert config.mlp_bias
    assert config.fused_qkv
    assert config.layer_norm
    assert not config.gated_mlp
    assert parsed(gpt2, n_inner=20).intermediate_size == 20


def test_gpt2_may_use_the_names_of_the_others(gpt2: Config) -> None:
    renamed = dict(gpt2)
    for old, new in {
        "n_embd": "hidden_size",
        "n_layer": "num_hidden_layers",
        "n_head": "num_attention_heads",
        "n_positions": "max_position_embeddings",
    }.items():
        renamed[new] = renamed.pop(old)
    assert parsed(renamed) == parsed(gpt2)
    assert "n_embd and hidden_size" in problems_of(gpt2 | {"hidden_size": 16})[0]


def test_both_spellings_of_the_dtype(llama: Config) -> None:
    del llama["dtype"]
    assert parsed(llama).dtype == "float32"
    assert parsed(llama, torch_dtype="bfloat16") == parsed(llama, dtype="bfloat16")
    assert parsed(llama, torch_dtype="bfloat16").dtype == "bfloat16"
    assert parsed(llama, torch_dtype="float16", dtype="bfloat16").dtype == "bfloat16"


@pytest.mark.parametrize(
    ("family", "qkv_bias", "o_bias", "qk_norm"),
    [
        ("llama", True, True, False),
        ("mistral", False, False, False),
        ("qwen2", True, False, False),
        ("qwen3", True, True, True),
    ],
)
def test_biases_and_norms_are_the_family_s(
    llama: Config, family: str, qkv_bias: bool, o_bias: bool, qk_norm: bool
) -> None:
    raw = llama | {"model_type": family, "architectures": None, "attention_bias": True}
    config = parsed(raw)
    assert (config.qkv_bias, config.o_bias, config.qk_norm) == (qkv_bias, o_bias, qk_norm)
    assert config.family.name == family
    assert parsed(raw | {"mlp_bias": True}).mlp_bias is (family == "llama")


def test_defaults_are_those_of_the_family_s_class(llama: Config) -> None:
    for name in ("num_key_value_heads", "head_dim", "rms_norm_eps", "max_position_embeddings"):
        llama.pop(name, None)
    llama |= {"architectures": None, "num_attention_heads": 8, "hidden_size": 32}
    plain = parsed(llama)
    assert (plain.n_kv_heads, plain.head_dim, plain.norm_eps) == (8, 4, 1e-6)
    assert plain.max_positions == 2048
    mistral = parsed(llama, model_type="mistral", num_attention_heads=16)
    assert (mistral.n_kv_heads, mistral.sliding_window) == (8, 4096)
    qwen3 = parsed(llama, model_type="qwen3")
    assert (qwen3.head_dim, qwen3.max_positions) == (128, 32_768)


def test_a_null_means_as_many_key_heads_as_query_heads(llama: Config) -> None:
    raw = llama | {"model_type": "mistral", "architectures": None, "num_key_value_heads": None}
    assert parsed(raw).n_kv_heads == 4


def test_an_explicit_head_dim_frees_the_width(llama: Config) -> None:
    config = parsed(llama, head_dim=6, hidden_size=10)
    assert (config.head_dim, config.q_features, config.kv_features) == (6, 24, 12)
    assert "contradict" in problems_of(llama | {"hidden_size": 10})[0]


def test_mistral_slides_in_every_layer(llama: Config) -> None:
    raw = llama | {"model_type": "mistral", "architectures": None}
    assert parsed(raw, sliding_window=7).sliding_window == 7
    assert parsed(raw, sliding_window=7).sliding_layers == (True, True)
    full = parsed(raw, sliding_window=None)
    assert (full.sliding_window, full.sliding_layers) == (None, (False, False))


def test_qwen_slides_where_it_is_told(llama: Config) -> None:
    raw = llama | {"model_type": "qwen2", "architectures": None, "sliding_window": 7}
    assert parsed(raw).sliding_window is None
    on = raw | {"use_sliding_window": True, "max_window_layers": 1}
    assert (parsed(on).sliding_window, parsed(on).sliding_layers) == (7, (False, True))
    assert parsed(on, max_window_layers=0).sliding_layers == (True, True)
    assert parsed(on, max_window_layers=9).sliding_window is None
    listed = parsed(on, layer_types=["sliding_attention", "full_attention"])
    assert listed.sliding_layers == (True, False)


def test_llama_does_not_slide(llama: Config) -> None:
    assert parsed(llama, sliding_window=4).sliding_window is None


def test_ids_outside_the_vocabulary_end_nothing(llama: Config, gpt2: Config) -> None:
    assert parsed(llama, eos_token_id=[2, 5, 2, 24, -1]).eos_ids == (2, 5)
    assert parsed(llama, eos_token_id=None).eos_ids == ()
    assert (parsed(gpt2).eos_ids, parsed(gpt2).bos_id) == ((), None)


@pytest.mark.parametrize(
    ("name", "activation"),
    [
        ("silu", Activation.SILU),
        ("swish", Activation.SILU),
        ("gelu", Activation.GELU),
        ("gelu_new", Activation.GELU_TANH),
        ("gelu_pytorch_tanh", Activation.GELU_TANH),
        ("gelu_fast", Activation.GELU_TANH),
    ],
)
def test_activation_names_of_configs_are_read(
    llama: Config, name: str, activation: Activation
) -> None:
    assert parsed(llama, hidden_act=name).activation is activation


def test_qwen_2_5_by_its_own_name_is_qwen2(llama: Config) -> None:
    config = parsed(llama, model_type="qwen2.5", architectures=["Qwen2ForCausalLM"])
    assert (config.family.name, config.model_type) == ("qwen2", "qwen2.5")


@pytest.mark.parametrize("name", ["mamba", "Llama", "gemma4", "qwen2_moe", "", "\x1b[2J"])
def test_a_foreign_model_type_is_refused_with_the_list(llama: Config, name: str) -> None:
    with pytest.raises(ModelError) as caught:
        parsed(llama, model_type=name)
    (problem,) = caught.value.problems
    assert problem.code == "MENS-H010"
    assert ", ".join(family.name for family in FAMILIES) in problem.fix
    assert "\x1b" not in str(caught.value)


UNSUPPORTED = {
    "scale_attn_weights": False,
    "scale_attn_by_inverse_layer_idx": True,
    "reorder_and_upcast_attn": True,
    "add_cross_attention": True,
    "is_encoder_decoder": True,
    "activation_function": "relu",
    "architectures": ["MixtralForCausalLM"],
    "torch_dtype": "float8_e4m3fn",
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_gpt2_settings_that_change_arithmetic_are_refused_by_name(gpt2: Config, name: str) -> None:
    (text,) = problems_of(gpt2 | {name: UNSUPPORTED[name]})
    assert text.startswith(f"MENS-H013 {name}")
    assert problems_of(gpt2 | UNSUPPORTED) != [text]


def test_code_that_comes_with_a_known_family_is_ignored_with_a_note(gpt2: Config) -> None:
    plain, with_code = parsed(gpt2), parsed(gpt2, auto_map={"AutoModel": "modeling.Evil"})
    assert plain == with_code
    assert plain.notes == ()
    (note,) = with_code.notes
    assert "auto_map" in note
    with pytest.raises(ModelError, match="MENS-H010"):
        parsed(gpt2, model_type="evil", auto_map={"AutoModel": "modeling.Evil"})


def test_dynamic_positions_are_the_default_ones_up_to_the_context_and_end_there(
    llama: Config,
) -> None:
    plain = parsed(llama)
    rope = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 2.0}
    scaled = parsed(llama, rope_parameters=rope)
    assert plain.position_limit is None
    assert scaled.position_limit == scaled.max_positions == plain.max_positions
    assert any(str(scaled.max_positions) in note for note in scaled.notes)


WRONG_FIELDS: dict[str, object] = {
    "vocab_size": 0,
    "hidden_size": -8,
    "intermediate_size": 12.0,
    "num_hidden_layers": 10**9,
    "num_attention_heads": True,
    "num_key_value_heads": "2",
    "head_dim": [2],
    "max_position_embeddings": {},
    "rms_norm_eps": 0,
    "rope_theta": "big",
    "hidden_act": 3,
    "tie_word_embeddings": "false",
    "attention_bias": 1,
    "dtype": 32,
    "eos_token_id": "</s>",
    "bos_token_id": [1, "x"],
    "architectures": "LlamaForCausalLM",
    "layer_types": [1, 2],
    "model_type": 7,
}


@pytest.mark.parametrize("name", WRONG_FIELDS)
def test_a_field_of_the_wrong_kind_is_named(llama: Config, name: str) -> None:
    texts = [f"{text}" for text in problems_of(llama | {name: WRONG_FIELDS[name]})]
    if name == "model_type":
        assert texts[0].startswith("MENS-H010")
    else:
        assert any(text.startswith(f"MENS-H012 the field {name}") for text in texts)


def test_every_problem_is_reported_at_once(llama: Config) -> None:
    for name in ("vocab_size", "hidden_size", "intermediate_size"):
        del llama[name]
    texts = problems_of(llama | {"hidden_act": "relu", "rms_norm_eps": -1})
    assert len(texts) == 5
    assert sum(text.startswith("MENS-H011") for text in texts) == 3


CONTRADICTIONS: dict[str, Config] = {
    "key heads": {"num_key_value_heads": 3},
    "layer types are too few": {"layer_types": ["full_attention"]},
    "a layer slides without a window": {"layer_types": ["sliding_attention"] * 2},
}


@pytest.mark.parametrize("changes", CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_contradictions_are_refused(llama: Config, changes: Config) -> None:
    (text,) = problems_of(llama | changes)
    assert text.startswith("MENS-H014")


def test_odd_heads_cannot_rotate_and_odd_layers_are_foreign(llama: Config) -> None:
    assert "head_dim 3" in problems_of(llama | {"head_dim": 3})[0]
    foreign = problems_of(llama | {"layer_types": ["full_attention", "linear_attention"]})
    assert "linear_attention" in foreign[0]


def test_gpt2_width_must_divide_by_its_heads(gpt2: Config) -> None:
    assert "n_embd and n_head" in problems_of(gpt2 | {"n_head": 3})[0]


def test_a_list_of_problems_is_capped(llama: Config) -> None:
    many = {name: "x" for name in llama if name not in ("model_type", "architectures")}
    rope: Config = {f"key{n}": {} for n in range(60)}
    texts = problems_of(llama | many | {"rope_parameters": rope})
    assert len(texts) == 21
    assert "more" in texts[-1]


def test_reading_a_folder(tmp_path: Path, llama: Config) -> None:
    with pytest.raises(ModelError, match="MENS-H001"):
        read_model_config(tmp_path / "absent")
    with pytest.raises(ModelError, match="MENS-H002"):
        read_model_config(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(llama), encoding="utf-8")
    assert read_model_config(tmp_path) == parsed(llama)
    with pytest.raises(ModelError, match="MENS-H001"):
        read_model_config(path)


def test_a_problem_names_the_file(tmp_path: Path, folder: Callable[..., Path]) -> None:
    folder({"model_type": "bert"}, {})
    with pytest.raises(ModelError) as caught:
        read_model_config(tmp_path, GraphSource.NATIVE)
    assert caught.value.problems[0].where == str(tmp_path / "config.json")


ODD_VALUES: tuple[object, ...] = (
    None,
    True,
    0,
    -1,
    1,
    3,
    2**70,
    0.5,
    1e308,
    "",
    "x",
    "yarn",
    "llama3",
    [],
    [None],
    ["full_attention", "sliding_attention"],
    {},
    {"rope_type": "yarn"},
    {"type": "llama3", "factor": 2, "low_freq_factor": 1, "high_freq_factor": 4},
    {"rope_type": "yarn", "factor": None, "original_max_position_embeddings": 2},
)
LLAMA_NAMES: Config = {
    "vocab_size": 24,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "tie_word_embeddings": False,
}
OPTIONAL_NAMES = (
    "head_dim",
    "rope_theta",
    "rope_scaling",
    "sliding_window",
    "use_sliding_window",
    "max_window_layers",
    "layer_types",
    "hidden_act",
    "attention_bias",
    "partial_rotary_factor",
    "original_max_position_embeddings",
    "torch_dtype",
    "quantization_config",
)


@pytest.mark.any_install
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    family=st.sampled_from(FAMILIES),
    changes=st.dictionaries(
        st.sampled_from([*LLAMA_NAMES, *OPTIONAL_NAMES]), st.sampled_from(ODD_VALUES), max_size=4
    ),
)
def test_mutants_are_refused_or_coherent(family: ModelFamily, changes: Config) -> None:
    raw = LLAMA_NAMES | {"model_type": family.name, "n_embd": 8, "n_layer": 2, "n_head": 2}
    try:
        config = parse_model_config(raw | changes, "config.json")
    except ModelError:
        return
    assert len(config.sliding_layers) == config.n_layers
    assert config.n_heads % config.n_kv_heads == 0
    assert any(config.sliding_layers) == (config.sliding_window is not None)
    assert len(tensor_keys(config)) > config.n_layers


@pytest.mark.parametrize("value", [1e308, 10**400, 1.5, 0, -1])
def test_an_epsilon_out_of_bounds_is_told_both_bounds(llama: Config, value: float) -> None:
    with pytest.raises(ModelError) as caught:
        parse_model_config(llama | {"rms_norm_eps": value}, "config.json")
    (problem,) = caught.value.problems
    assert problem.code == "MENS-H012"
    assert "above 0, at most 1" in problem.fix
