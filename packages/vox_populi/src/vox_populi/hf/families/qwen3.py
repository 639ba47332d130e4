"""Qwen3: Llama's graph with an RMSNorm over each head of q and k, before the rotation."""

from __future__ import annotations

from dataclasses import replace

from vox_populi.hf.families.llama import TENSORS, TINY
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
            "attn.q": "self_attn.q_proj",
            "attn.k": "self_attn.k_proj",
            "attn.v": "self_attn.v_proj",
            "attn.q_norm": "self_attn.q_norm",
            "attn.k_norm": "self_attn.k_norm",
            "attn.o": "self_attn.o_proj",
            "mlp_norm": "post_attention_layernorm",
            "mlp.gate": "mlp.gate_proj",
            "mlp.up": "mlp.up_proj",
            "mlp.down": "mlp.down_proj",
        },
    ),
    gguf=GgufForm(
        architecture="QWEN3",
        limits=(Limit("qkv_bias", False, "llama.cpp's Qwen3 has no attention biases"),),
    ),
    mlx=MlxForm(limits=(Limit("qkv_bias", False, "its Qwen3 has no attention biases."),)),
    tiny={"model_type": "qwen3", **TINY, "head_dim": 8, "tie_word_embeddings": True},
)
