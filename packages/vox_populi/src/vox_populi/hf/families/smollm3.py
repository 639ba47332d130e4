"""SmolLM3: Llama's graph, where every fourth layer, or a list of layers, does not rotate."""

from __future__ import annotations

from vox_populi.hf.families.llama import TENSORS, TINY
from vox_populi.hf.model_family import (
    Activation,
    ConfigFormat,
    GgufForm,
    Limit,
    MlxForm,
    ModelFamily,
    SlidingRule,
)
from vox_populi.hf.rope_config import RopeRule, UnrotatedLayers

FAMILY = ModelFamily(
    name="smollm3",
    label="SmolLM3",
    architectures=("SmolLM3ForCausalLM", "SmolLM3Model"),
    config=ConfigFormat(
        default_kv_heads=4,
        default_positions=32_768,
        qkv_bias="attention_bias",
        o_bias="attention_bias",
        mlp_bias="mlp_bias",
        tied_by_default=True,
        sliding=SlidingRule(by_layer=True, where_unrotated=True),
        rope=RopeRule(
            default_theta=2_000_000.0,
            unrotated=UnrotatedLayers("no_rope_layers", "no_rope_layer_interval", 4),
        ),
    ),
    tensors=TENSORS,
    gguf=GgufForm(
        architecture="SMOLLM3",
        paired_rotation=True,
        limits=(
            Limit(
                "rotates_three_of_four",
                True,
                "llama.cpp's SmolLM3 rotates in all layers but every fourth",
            ),
            Limit("activation", Activation.SILU, "llama.cpp's SmolLM3 gates by SiLU"),
            Limit("qkv_bias", False, "llama.cpp's SmolLM3 has no attention biases"),
            Limit("mlp_bias", False, "llama.cpp's SmolLM3 has no MLP biases"),
        ),
    ),
    mlx=MlxForm(
        reads_rope_parameters=False,
        limits=(
            Limit("activation", Activation.SILU, "its SmolLM3 gates by SiLU."),
            Limit("sliding_window", None, "its SmolLM3 has no sliding window."),
        ),
    ),
    tiny={"model_type": "smollm3", **TINY, "num_hidden_layers": 4},
)
