"""Llama: rotary positions, RMSNorm, a gated MLP; biases if the config has them."""

from __future__ import annotations

from vox_populi.hf.model_family import (
    ConfigFormat,
    GgufForm,
    MlxForm,
    ModelFamily,
    SlidingRule,
    TensorNames,
)

ATTENTION = {
    "attn.q": "self_attn.q_proj",
    "attn.k": "self_attn.k_proj",
    "attn.v": "self_attn.v_proj",
    "attn.o": "self_attn.o_proj",
}
NORMED_ATTENTION = {
    "attn.q": "self_attn.q_proj",
    "attn.k": "self_attn.k_proj",
    "attn.v": "self_attn.v_proj",
    "attn.q_norm": "self_attn.q_norm",
    "attn.k_norm": "self_attn.k_norm",
    "attn.o": "self_attn.o_proj",
}
MLP = {"mlp.gate": "mlp.gate_proj", "mlp.up": "mlp.up_proj", "mlp.down": "mlp.down_proj"}
"""Parts of a block with the names that most families give them; norms differ."""

TENSORS = TensorNames(
    embed="model.embed_tokens",
    blocks="model.layers.",
    block={
        "attn_norm": "input_layernorm",
        **ATTENTION,
        "mlp_norm": "post_attention_layernorm",
        **MLP,
    },
    final_norm="model.norm",
    optional_prefix="model.",
    derived=("self_attn.rotary_emb.inv_freq",),
)
"""Names that Mistral and Qwen2 share."""

TINY = {
    "vocab_size": 24,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "rms_norm_eps": 1e-5,
}

FAMILY = ModelFamily(
    name="llama",
    label="Llama",
    architectures=("LlamaForCausalLM", "LlamaModel"),
    config=ConfigFormat(
        default_positions=2048,
        qkv_bias="attention_bias",
        o_bias="attention_bias",
        mlp_bias="mlp_bias",
        sliding=SlidingRule(window=None),
    ),
    tensors=TENSORS,
    gguf=GgufForm(architecture="LLAMA", paired_rotation=True),
    mlx=MlxForm(reads_rope_parameters=False),
    tiny={"model_type": "llama", **TINY},
)
