"""Granite 4, dense: Granite 3's graph with a fused gate and up.

The type is also that of models with Mamba layers and experts, which transformers computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from vox_populi.hf.families.granite import FAMILY as GRANITE
from vox_populi.hf.families.llama import ATTENTION, TINY
from vox_populi.hf.model_family import (
    Activation,
    FixedSetting,
    GgufForm,
    Limit,
    MlxForm,
    ModelFamily,
    SlidingRule,
)

_ATTENTION = ("attention", "full_attention")
"""The kind of a layer, as published folders and as transformers 5 name it."""


def _is_other(config: Mapping[str, object]) -> bool:
    """Whether there may be experts, layers other than attention, or none that rotate."""
    layers = config.get("layer_types")
    return (
        not isinstance(layers, list)
        or any(each not in _ATTENTION for each in layers)
        or config.get("num_local_experts") != 0
        or config.get("position_embedding_type") != "rope"
    )


FAMILY = ModelFamily(
    name="granitemoehybrid",
    is_other=_is_other,
    label="Granite 4",
    architectures=("GraniteMoeHybridForCausalLM", "GraniteMoeHybridModel"),
    config=replace(
        GRANITE.config,
        mlp_width="shared_intermediate_size",
        mlp_bias=False,
        sliding=SlidingRule(window=None),
        required={
            "layer_types": "a list of attention",
            "num_local_experts": "0",
            "position_embedding_type": "rope",
        },
        fixed=(
            FixedSetting("num_local_experts", (0,), "a mixture of experts"),
            FixedSetting("position_embedding_type", ("rope",), "attention without positions"),
        ),
    ),
    tensors=replace(
        GRANITE.tensors,
        block={
            "attn_norm": "input_layernorm",
            **ATTENTION,
            "mlp_norm": "post_attention_layernorm",
            "mlp.gate_up": "shared_mlp.input_linear",
            "mlp.down": "shared_mlp.output_linear",
        },
    ),
    gguf=GgufForm(),
    mlx=MlxForm(
        reads_rope_parameters=False,
        splits_gate_up=True,
        limits=(
            Limit("activation", Activation.SILU, "its Granite 4 gates by SiLU."),
            Limit(
                "heads_fill_width",
                True,
                "its Granite 4 has query heads as wide together as the model.",
            ),
        ),
    ),
    tiny={
        **{name: value for name, value in TINY.items() if name != "intermediate_size"},
        "model_type": "granitemoehybrid",
        "shared_intermediate_size": 24,
        "layer_types": ["attention", "attention"],
        "num_local_experts": 0,
        "position_embedding_type": "rope",
        "embedding_multiplier": 3.0,
        "attention_multiplier": 0.4,
        "residual_multiplier": 0.22,
        "logits_scaling": 1.5,
    },
)
