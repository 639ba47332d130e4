"""Phi-3, Phi-3.5 and Phi-4: fused q/k/v and gate/up, rotation of a part of each head, LongRoPE."""

from __future__ import annotations

from vox_populi.hf.model_family import (
    Activation,
    ConfigFormat,
    GgufForm,
    Limit,
    MlxForm,
    ModelFamily,
    SlidingRule,
    TensorNames,
)
from vox_populi.hf.rope_config import RopeKind, RopeRule

FAMILY = ModelFamily(
    name="phi3",
    label="Phi-3",
    architectures=("Phi3ForCausalLM", "Phi3Model"),
    config=ConfigFormat(
        default_positions=4096,
        default_norm_eps=1e-5,
        sliding=SlidingRule(),
        rope=RopeRule(
            # The first files called LongRoPE `su`, and some `yarn`; the class reads both as it.
            kinds={
                "default": RopeKind.DEFAULT,
                "longrope": RopeKind.LONGROPE,
                "su": RopeKind.LONGROPE,
                "yarn": RopeKind.LONGROPE,
            },
            partial=True,
            original_positions=4096,
        ),
    ),
    tensors=TensorNames(
        embed="model.embed_tokens",
        blocks="model.layers.",
        block={
            "attn_norm": "input_layernorm",
            "attn.qkv": "self_attn.qkv_proj",
            "attn.o": "self_attn.o_proj",
            "mlp_norm": "post_attention_layernorm",
            "mlp.gate_up": "mlp.gate_up_proj",
            "mlp.down": "mlp.down_proj",
        },
        final_norm="model.norm",
        optional_prefix="model.",
        derived=("self_attn.rotary_emb.inv_freq",),
    ),
    gguf=GgufForm(
        architecture="PHI3",
        limits=(
            Limit("activation", Activation.SILU, "llama.cpp's Phi-3 gates by SiLU"),
            Limit(
                "heads_fill_width",
                True,
                "llama.cpp's Phi-3 has query heads as wide together as the model",
            ),
        ),
    ),
    mlx=MlxForm(
        reads_rope_parameters=False,
        limits=(
            Limit("activation", Activation.SILU, "its Phi-3 gates by SiLU."),
            Limit(
                "heads_fill_width",
                True,
                "its Phi-3 has query heads as wide together as the model.",
            ),
            Limit("sliding_window", None, "its Phi-3 has no sliding window."),
            Limit(
                "rope.kind",
                RopeKind.DEFAULT,
                "its Phi-3 takes LongRoPE's long list for texts of every length.",
            ),
        ),
    ),
    tiny={
        "model_type": "phi3",
        "vocab_size": 24,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 32,
        "original_max_position_embeddings": 4,
        "partial_rotary_factor": 0.5,
        "rope_scaling": {
            "type": "longrope",
            "short_factor": [1.0, 1.5],
            "long_factor": [2.0, 5.0],
        },
    },
)
