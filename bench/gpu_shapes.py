"""What `gpu_check.py` measures: shapes of Qwen3 and Llama as configs, their work, their goals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

RANK = 16
H100_BF16 = 989e12
"""Dense bf16 operations a second of an H100 SXM, by its datasheet."""


@dataclass(frozen=True, slots=True)
class GpuShape:
    """One model to measure, with random weights."""

    name: str
    config: dict[str, Any]
    """What its `config.json` would say."""
    window_tokens: int
    """Tokens of a forward pass, so that activations fit into 80 GB without recomputation."""
    goal: str = ""
    """Tokens a second of LoRA in bf16: what others published, and what we aim at."""
    qlora_goal: str = ""
    """The same for QLoRA."""


def _qwen3(width: int, layers: int, heads: int, ffn: int, *, tied: bool) -> dict[str, Any]:
    return {
        "model_type": "qwen3",
        "architectures": ["Qwen3ForCausalLM"],
        "vocab_size": 151_936,
        "hidden_size": width,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "hidden_act": "silu",
        "max_position_embeddings": 40_960,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "tie_word_embeddings": tied,
        "attention_bias": False,
    }


_LLAMA_1B = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 128_256,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_act": "silu",
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500_000.0,
    "tie_word_embeddings": True,
}

SHAPES = (
    GpuShape(
        "0.6b",
        _qwen3(1024, 28, 16, 3072, tied=True),
        16_384,
        "beat 21.3k (Unsloth), 53.9k (Surogate); aim 60k",
        "beat 18k (Unsloth), 16.6k (Surogate)",
    ),
    GpuShape(
        "1.7b",
        _qwen3(2048, 28, 16, 6144, tied=True),
        16_384,
        "beat 20.8k (Unsloth), 32.8k (Surogate); aim 40k",
        "beat 18k (Unsloth), 16.1k (Surogate)",
    ),
    GpuShape(
        "4b",
        _qwen3(2560, 36, 32, 9728, tied=True),
        8192,
        "beat 12.4k (Unsloth), 15.9k (Surogate); aim 20k",
        "beat 11.5k (Unsloth), 11.0k (Surogate)",
    ),
    GpuShape(
        "8b",
        _qwen3(4096, 36, 32, 12_288, tied=False),
        8192,
        "beat 12.5k (NeMo); aim 14k",
        "beat 8.2k (Unsloth), 9.4k (Surogate); aim 12k",
    ),
)
PARITY_SHAPE = GpuShape("1b", _LLAMA_1B, 4096)
TINY = {
    **_qwen3(64, 2, 4, 160, tied=True),
    "vocab_size": 320,
    "num_key_value_heads": 2,
    "head_dim": 32,
}
TINY_SHAPE = GpuShape("tiny", TINY, 512)


def shape_named(name: str, *, is_tiny: bool) -> GpuShape:
    """One shape; a dry run takes the tiny one for each."""
    if is_tiny:
        return TINY_SHAPE
    return next(s for s in (*SHAPES, PARITY_SHAPE, TINY_SHAPE) if s.name == name)


def useful_work(config: dict[str, Any], lengths: list[int], supervised: int) -> float:
    """Floating-point operations that a step of LoRA needs, without recomputation.

    Forward and input gradient of the frozen layers (4 each), adapters (6), causal attention (6
    products of half a square), and the head at supervised tokens (4).
    """
    width, layers, ffn = (
        config[k] for k in ("hidden_size", "num_hidden_layers", "intermediate_size")
    )
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    dim = config.get("head_dim", width // heads)
    pairs = [(width, heads * dim), (width, kv * dim), (width, kv * dim), (heads * dim, width)]
    pairs += [(width, ffn), (width, ffn), (ffn, width)]
    frozen = 4.0 * layers * sum(i * o for i, o in pairs)
    adapters = 6.0 * layers * sum(RANK * (i + o) for i, o in pairs)
    attention = 6.0 * layers * heads * dim * sum(n * n for n in lengths)
    head = 4.0 * width * config["vocab_size"] * supervised
    return float((frozen + adapters) * sum(lengths) + attention + head)
