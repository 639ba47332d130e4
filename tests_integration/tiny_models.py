"""Random tiny models of every family, written by transformers: the oracle of the model tests.

Every parameter is drawn so that it matters: norms are not one, biases not zero, and attention
is far from uniform. Scaled rotations are stretched from 16 positions, windows hold 8 keys; rows
longer than `SHORT_CONTEXT` therefore see all of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GraniteConfig,
    GraniteMoeHybridConfig,
    LlamaConfig,
    Ministral3Config,
    MistralConfig,
    Olmo2Config,
    Olmo3Config,
    Phi3Config,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)
from transformers.utils.logging import disable_progress_bar

from tests_integration.tiny_mixtures import MIXTURES, mixture_configs

VOCAB = 320
WIDTH = 32
N_LAYERS = 3
SHORT_CONTEXT = 16
"""Positions before rotary scaling, and twice the sliding window."""
MAX_POSITIONS = 128
SHARD_SIZE = "30KB"

IM_START, IM_END, END_OF_TEXT = "<|im_start|>", "<|im_end|>", "<|endoftext|>"

_LLAMA: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": MAX_POSITIONS,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": None,
    "attn_implementation": "eager",
}
_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": SHORT_CONTEXT,
}
_YARN_ROPE = {
    "rope_type": "yarn",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "beta_fast": 4.0,
    "beta_slow": 1.0,
    "original_max_position_embeddings": SHORT_CONTEXT,
}
_MINISTRAL_ROPE = {
    **_YARN_ROPE,
    "beta_fast": 32.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.5,
}


def _llama(**changes: Any) -> PretrainedConfig:
    return LlamaConfig(**{**_LLAMA, **changes})


def _granite(kind: type[PretrainedConfig] = GraniteConfig, **changes: Any) -> PretrainedConfig:
    """Factors far from those without which the graph would be Llama's."""
    factors = {
        "embedding_multiplier": 3.0,
        "attention_multiplier": 0.6,
        "residual_multiplier": 0.7,
        "logits_scaling": 1.5,
    }
    return kind(**{**_LLAMA, **factors, **changes})


def _qwen(kind: type[PretrainedConfig], **changes: Any) -> PretrainedConfig:
    return kind(**{**_LLAMA, **changes})


def _gpt2(**changes: Any) -> PretrainedConfig:
    settings = {
        "vocab_size": VOCAB,
        "n_embd": WIDTH,
        "n_layer": N_LAYERS,
        "n_head": 4,
        "n_positions": MAX_POSITIONS,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "attn_implementation": "eager",
    }
    return GPT2Config(**{**settings, **changes})


def _gemma2(**changes: Any) -> PretrainedConfig:
    """Caps and a query scale that are far from doing nothing."""
    settings = {
        "head_dim": 12,
        "query_pre_attn_scalar": 3,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 3.0,
        "sliding_window": 8,
    }
    return Gemma2Config(**{**_LLAMA, **settings, **changes})


def _gemma3(**changes: Any) -> PretrainedConfig:
    """Two of three layers slide, with a rotation of their own."""
    settings = {
        "head_dim": 12,
        "query_pre_attn_scalar": 3,
        "sliding_window": 8,
        "sliding_window_pattern": 3,
        "tie_word_embeddings": False,
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
        },
    }
    return Gemma3TextConfig(**{**_LLAMA, **settings, **changes})


def _olmo3(**changes: Any) -> PretrainedConfig:
    """Two of three layers slide, with a rotation of their own."""
    rope = {
        "full_attention": {**_YARN_ROPE, "rope_theta": 500_000.0, "attention_factor": 1.2},
        "sliding_attention": {"rope_type": "default", "rope_theta": 500_000.0},
    }
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    changed = {"layer_types": kinds, "sliding_window": 8, "rope_parameters": rope, **changes}
    return Olmo3Config(**{**_LLAMA, **changed})


def _phi3(**changes: Any) -> PretrainedConfig:
    """Three quarters of each head are rotated, as in Phi-4-mini."""
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.75}
    return Phi3Config(**{**_LLAMA, "rope_parameters": rope, **changes})


_LONGROPE: dict[str, Any] = {
    "original_max_position_embeddings": SHORT_CONTEXT,
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "partial_rotary_factor": 0.75,
        "short_factor": [1.0, 1.1, 1.3],
        "long_factor": [1.5, 4.0, 9.0],
    },
}
_SLIDING = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}

CONFIGS: Mapping[str, Callable[[], PretrainedConfig]] = {
    "gemma2": _gemma2,
    "gemma2_uncapped": lambda: _gemma2(
        attn_logit_softcapping=None, final_logit_softcapping=None, tie_word_embeddings=False
    ),
    "gemma3": _gemma3,
    "gemma3_capped_biased": lambda: _gemma3(
        final_logit_softcapping=3.0, attention_bias=True, tie_word_embeddings=True
    ),
    "gpt2": _gpt2,
    "gpt2_untied": lambda: _gpt2(tie_word_embeddings=False, n_inner=40),
    "gpt2_exact_gelu": lambda: _gpt2(activation_function="gelu"),
    "granite": _granite,
    "granite_tied_biased": lambda: _granite(
        tie_word_embeddings=True, attention_bias=True, mlp_bias=True
    ),
    "granitemoehybrid": lambda: _granite(
        GraniteMoeHybridConfig,
        shared_intermediate_size=40,
        layer_types=["full_attention"] * N_LAYERS,
        num_local_experts=0,
        position_embedding_type="rope",
        mamba_n_heads=4,
        tie_word_embeddings=True,
    ),
    "llama": _llama,
    "llama_tied": lambda: _llama(tie_word_embeddings=True),
    "llama_biased": lambda: _llama(attention_bias=True, mlp_bias=True),
    "llama_multi_head": lambda: _llama(num_key_value_heads=4),
    "llama_wide_heads": lambda: _llama(head_dim=12),
    "llama_llama3": lambda: _llama(rope_parameters=dict(_LLAMA3_ROPE)),
    "llama_linear": lambda: _llama(
        rope_parameters={"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}
    ),
    "llama_dynamic": lambda: _llama(
        rope_parameters={"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 4.0}
    ),
    "llama_yarn": lambda: _llama(rope_parameters=dict(_YARN_ROPE), head_dim=16),
    "llama_yarn_mscale": lambda: _llama(
        rope_parameters={**_YARN_ROPE, "mscale": 0.7, "mscale_all_dim": 1.3, "truncate": False}
    ),
    "ministral3": lambda: Ministral3Config(
        **_LLAMA, head_dim=16, rope_parameters=dict(_MINISTRAL_ROPE)
    ),
    "ministral3_sliding": lambda: Ministral3Config(
        **_LLAMA,
        head_dim=8,
        sliding_window=8,
        tie_word_embeddings=True,
        rope_parameters={**_MINISTRAL_ROPE, "mscale_all_dim": 0.5, "beta_fast": 4.0},
    ),
    "mistral": lambda: MistralConfig(**_LLAMA, sliding_window=8),
    "mistral_no_window": lambda: MistralConfig(**_LLAMA, sliding_window=None, head_dim=10),
    "olmo2": lambda: Olmo2Config(**_LLAMA),
    "olmo2_biased_tied": lambda: Olmo2Config(
        **{**_LLAMA, "num_key_value_heads": 4}, attention_bias=True, tie_word_embeddings=True
    ),
    "olmo3": _olmo3,
    "phi3": _phi3,
    "phi3_longrope": lambda: _phi3(**_LONGROPE),
    "phi3_longrope_tied": lambda: _phi3(**_LONGROPE, tie_word_embeddings=True),
    "phi3_sliding": lambda: _phi3(sliding_window=8, num_key_value_heads=4),
    "phi3_wide_heads": lambda: _phi3(head_dim=16),
    "qwen2": lambda: _qwen(Qwen2Config),
    "qwen2_tied": lambda: _qwen(Qwen2Config, tie_word_embeddings=True),
    "qwen2_sliding": lambda: _qwen(Qwen2Config, **_SLIDING),
    "qwen3": lambda: _qwen(Qwen3Config, head_dim=16),
    "qwen3_tied_biased": lambda: _qwen(
        Qwen3Config, head_dim=8, attention_bias=True, tie_word_embeddings=True
    ),
    "qwen3_sliding": lambda: _qwen(Qwen3Config, head_dim=16, **_SLIDING),
    "smollm3": lambda: SmolLM3Config(**_LLAMA, no_rope_layer_interval=2),
    "smollm3_fourth": lambda: SmolLM3Config(**{**_LLAMA, "num_hidden_layers": 4}),
    "smollm3_sliding": lambda: SmolLM3Config(
        **_LLAMA,
        no_rope_layers=[1, 0, 0],
        use_sliding_window=True,
        sliding_window=8,
        rope_parameters=dict(_YARN_ROPE),
    ),
    **mixture_configs(_LLAMA),
}
"""A builder per variant; each call makes a fresh config."""

GRAPH_CASES = ("gemma2", "gpt2", "llama", "mistral", "olmo3", "phi3", "qwen2", "qwen3")
"""One variant per kind of graph without experts, for tests that are dear."""
_OTHERS = ("gemma3", "granite", "granitemoehybrid", "ministral3", "olmo2", "smollm3")
PLAIN_CASES = (*GRAPH_CASES, *_OTHERS)
"""One variant per family without experts, for formats that have no form for these."""
FAMILY_CASES = (*PLAIN_CASES, *MIXTURES)
"""One variant per family, for tests that need no more."""
SMOOTH_CASES = tuple(f"{name}_every_expert" if name in MIXTURES else name for name in FAMILY_CASES)
"""One variant per family in which rounding cannot send a token to other experts."""
GGUF_CASES = ("gpt2", "llama", "mistral", "phi3", "qwen2", "qwen3")
"""Those of families whose GGUF files are written here and read by transformers."""
GGUF_CASES_UNREAD = ("granite", "ministral3", "smollm3_fourth")
"""Those of families whose GGUF files are written here, and transformers does not read them."""


def write_tiny_model(
    folder: Path,
    name: str = "llama",
    *,
    dtype: torch.dtype = torch.float32,
    sharded: bool = False,
    tokenizer: bool = False,
    seed: int = 0,
) -> PreTrainedModel:
    """Write a variant of `CONFIGS` with `save_pretrained` and return it in evaluation mode.

    Args:
        folder: Made if it is not there.
        name: Key of `CONFIGS`.
        dtype: Type of the stored weights and of the returned model.
        sharded: Several files and an index instead of one file.
        tokenizer: Write `tokenizer.json` and `tokenizer_config.json` too.
        seed: Of the weights.
    """
    disable_progress_bar()  # type: ignore[no-untyped-call]  # theirs, unannotated
    model = build_tiny_model(name, dtype=dtype, seed=seed)
    model.save_pretrained(folder, max_shard_size=SHARD_SIZE if sharded else "5GB")
    if tokenizer:
        write_tiny_tokenizer(folder)
    return model


def build_tiny_model(
    name: str = "llama", *, dtype: torch.dtype = torch.float32, seed: int = 0
) -> PreTrainedModel:
    """A variant of `CONFIGS` with random weights, in evaluation mode; nothing is written."""
    config = CONFIGS[name]()
    # Theirs, unannotated.
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    # Gemma stores what its norms have more than one.
    draw_parameters(model, seed, 0.0 if config.model_type.startswith("gemma") else 1.0)
    return cast(PreTrainedModel, model.to(dtype).eval())


def draw_parameters(model: torch.nn.Module, seed: int, norm_mean: float = 1.0) -> None:
    """Fill every parameter, so that each of them matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            _draw(parameter_name, parameter, generator, norm_mean)


def _draw(name: str, parameter: torch.Tensor, generator: torch.Generator, norm_mean: float) -> None:
    """Fill one parameter in place; the spread keeps activations of size one."""
    noise = torch.randn(parameter.shape, generator=generator)
    if parameter.dim() == 1:
        is_norm_weight = name.endswith(".weight")
        parameter.copy_(norm_mean + 0.2 * noise if is_norm_weight else 0.2 * noise)
    else:
        # Conv1D is [in, out] and Linear [out, in]; for these small shapes the width is enough.
        parameter.copy_(noise / WIDTH**0.5)


def respell_for_transformers_4(folder: Path) -> None:
    """Rewrite `config.json` as transformers 4 spelled it: rope_theta, rope_scaling, torch_dtype."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["torch_dtype"] = config.pop("dtype")
    rope = config.pop("rope_parameters", None)
    if rope is not None:
        if "full_attention" in rope:
            if config["model_type"] == "gemma3_text":
                config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
            rope = rope["full_attention"]
        elif config["model_type"] == "granitemoehybrid":
            config["layer_types"] = ["attention"] * len(config["layer_types"])
        else:
            config.pop("layer_types", None)
        config["rope_theta"] = rope.pop("rope_theta")
        if "partial_rotary_factor" in rope:
            config["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
        config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    path.write_text(json.dumps(config, indent=2), encoding="utf-8")


def write_tiny_tokenizer(folder: Path) -> Tokenizer:
    """A byte-level BPE with ChatML tokens, as Qwen ships it, of at most `VOCAB` ids.

    It has what real ones have and what must not leak into training ids: a post-processor that
    puts a token first, truncation and padding switched on.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - 10,
        special_tokens=[END_OF_TEXT, IM_START, IM_END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_SAMPLE_TEXT, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END_OF_TEXT} $A", special_tokens=[(END_OF_TEXT, 0)]
    )
    tokenizer.enable_truncation(max_length=4)
    tokenizer.enable_padding(pad_id=0, pad_token=END_OF_TEXT, length=6)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"eos_token": IM_END, "tokenizer_class": "PreTrainedTokenizerFast"}
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return tokenizer


_SAMPLE_TEXT = [
    "def add(a, b):\n    return a + b\n",
    "Write a function that returns the larger of two numbers.",
    "for item in items:\n    total += item.value\n",
    "The user asks, the assistant answers, the system sets the tone.",
]
