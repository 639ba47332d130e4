"""Qwen3: Llama's graph with an RMSNorm over each head of q and k, before the rotation."""

from __future__ import annotations

from dataclasses import replace

from vox_populi.hf.families.llama import MLP, NORMED_ATTENTION, TENSORS, TINY
from vox_populi.hf.model_family import (
    ConfigFormat,
    GgufForm,
    Limit,
    MlxForm,
    ModelFamily,
    SlidingRule,
)

FAMILY = ModelFamily(
    name="qwen3",
    label="Qwen3",
    architectures=("Qwen3ForCausalLM", "Qwen3Model"),
    config=ConfigFormat(
        default_positions=32_768,
        default_head_dim=128,
        qkv_bias="attention_bias",
        o_bias="attention_bias",
        sliding=SlidingRule(by_layer=True),
    ),
    tensors=replace(
        TENSORS,
        block={
            "attn_norm": "input_layernorm",
            **NORMED_ATTENTION,
            "mlp_norm": "post_attention_layernorm",
            **MLP,
        },
    ),
    gguf=GgufForm(
        architecture="QWEN3",
        limits=(Limit("qkv_bias", False, "llama.cpp's Qwen3 has no attention biases"),),
    ),
    mlx=MlxForm(limits=(Limit("qkv_bias", False, "its Qwen3 has no attention biases."),)),
    tiny={"model_type": "qwen3", **TINY, "head_dim": 8, "tie_word_embeddings": True},
)
