"""The model shapes that are measured: random weights, real dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PretrainedConfig

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Shape:
    """One model to measure."""

    name: str
    config: PretrainedConfig
    dtype: str
    targets: tuple[str, ...]
    """PEFT's names of every linear layer of a block."""
    goal: float
    """Ratio to the plain PEFT loop that the project set itself."""


LLAMA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def _llama(width: int, layers: int, heads: tuple[int, int], ffn: int, vocab: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=vocab,
        hidden_size=width,
        intermediate_size=ffn,
        num_hidden_layers=layers,
        num_attention_heads=heads[0],
        num_key_value_heads=heads[1],
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )


CPU_SHAPES = (
    Shape("llama", _llama(896, 12, (14, 2), 4864, 32_000), "float32", LLAMA_TARGETS, 2.0),
    Shape(
        "gpt2",
        GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0),
        "float32",
        ("c_attn", "c_proj", "c_fc"),
        2.4,
    ),
)
CUDA_SHAPES = (
    Shape("llama-1b", _llama(2048, 16, (32, 8), 8192, 128_256), "bfloat16", LLAMA_TARGETS, 2.0),
    Shape("llama-8b", _llama(4096, 32, (32, 8), 14_336, 128_256), "bfloat16", LLAMA_TARGETS, 2.0),
)


SMOKE = Shape("smoke", _llama(128, 2, (4, 2), 256, 512), "float32", LLAMA_TARGETS, 1.0)
"""Shows in a minute that the bench works; its figures mean nothing."""


def shapes_for(device: str) -> tuple[Shape, ...]:
    """The shapes of a device: small f32 ones on the CPU, 1B and 8B in bf16 on CUDA."""
    return CUDA_SHAPES if device == "cuda" else CPU_SHAPES


def shape_named(name: str) -> Shape:
    """One shape, of whatever device."""
    return next(s for s in (*CPU_SHAPES, *CUDA_SHAPES, SMOKE) if s.name == name)


def write_base(shape: Shape, folder: Path, device: str) -> None:
    """Save a randomly initialised base, the same for every run."""
    torch.manual_seed(0)
    with torch.device(device):
        auto: Any = AutoModelForCausalLM
        model = auto.from_config(shape.config, dtype=DTYPES[shape.dtype])
    model.save_pretrained(folder)
