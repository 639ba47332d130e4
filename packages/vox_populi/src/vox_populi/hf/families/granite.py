"""Granite 3, dense: Llama's graph with factors of embeddings, attention, residuals and logits."""

from __future__ import annotations

from vox_populi.hf.families.llama import TENSORS, TINY
from vox_populi.hf.model_family import (
    Activation,
    ConfigFormat,
    GgufForm,
    Limit,
    MlxForm,
    ModelFamily,
)

FAMILY = ModelFamily(
    name="granite",
    label="Granite",
    architectures=("GraniteForCausalLM", "GraniteModel"),
    config=ConfigFormat(
        default_positions=2048,
        qkv_bias="attention_bias",
        o_bias="attention_bias",
        mlp_bias="mlp_bias",
        embedding_scale="embedding_multiplier",
        attention_scale="attention_multiplier",
        residual_scale="residual_multiplier",
        logit_divisor="logits_scaling",
    ),
    tensors=TENSORS,
    gguf=GgufForm(
        architecture="GRANITE",
        paired_rotation=True,
        limits=(Limit("activation", Activation.SILU, "llama.cpp's Granite gates by SiLU"),),
    ),
    mlx=MlxForm(
        reads_rope_parameters=False,
        needed_keys=(
            "embedding_multiplier",
            "attention_multiplier",
            "residual_multiplier",
            "logits_scaling",
            "max_position_embeddings",
            "num_key_value_heads",
            "attention_bias",
            "mlp_bias",
            "rope_theta",
        ),
        limits=(
            Limit("activation", Activation.SILU, "its Granite gates by SiLU."),
            Limit(
                "heads_fill_width",
                True,
                "its Granite has query heads as wide together as the model.",
            ),
        ),
    ),
    tiny={
        "model_type": "granite",
        **TINY,
        "embedding_multiplier": 3.0,
        "attention_multiplier": 0.4,
        "residual_multiplier": 0.22,
        "logits_scaling": 1.5,
    },
)
