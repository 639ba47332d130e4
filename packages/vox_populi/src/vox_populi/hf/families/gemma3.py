"""Gemma 3, its text model: Gemma 2's norms, norms of q and k, and two rotations."""

from __future__ import annotations

from dataclasses import replace

from vox_populi.hf.families.gemma2 import CAUSAL, TENSORS, TINY
from vox_populi.hf.families.gemma2 import FAMILY as GEMMA2
from vox_populi.hf.families.llama import MLP, NORMED_ATTENTION
from vox_populi.hf.model_family import (
    Activation,
    FixedSetting,
    Limit,
    MlxForm,
    SlidingRule,
    SoftCap,
)
from vox_populi.hf.rope_config import LocalRope, RopeRule

FAMILY = replace(
    GEMMA2,
    name="gemma3_text",
    label="Gemma 3",
    architectures=("Gemma3ForCausalLM", "Gemma3TextModel"),
    config=replace(
        GEMMA2.config,
        default_heads=8,
        default_vocab=262_208,
        default_positions=131_072,
        attention_cap=None,
        logit_cap=SoftCap("final_logit_softcapping", None),
        sliding=SlidingRule(
            default_window=4096, full_every=6, full_every_field="sliding_window_pattern"
        ),
        rope=RopeRule(default_theta=1_000_000.0),
        local_rope=LocalRope(theta=10_000.0, theta_field="rope_local_base_freq"),
        fixed=(
            CAUSAL,
            # The class in transformers has the field and does nothing with it.
            FixedSetting("attn_logit_softcapping", (), "a soft cap of attention"),
        ),
    ),
    tensors=replace(
        TENSORS,
        block={
            "attn_norm": "input_layernorm",
            **NORMED_ATTENTION,
            "attn_post_norm": "post_attention_layernorm",
            "mlp_norm": "pre_feedforward_layernorm",
            **MLP,
            "mlp_post_norm": "post_feedforward_layernorm",
        },
    ),
    mlx=MlxForm(
        reads_rope_parameters=False,
        rope_theta=1_000_000.0,
        needed_keys=(
            "hidden_size",
            "intermediate_size",
            "num_attention_heads",
            "num_key_value_heads",
            "vocab_size",
            "sliding_window",
            "sliding_window_pattern",
        ),
        limits=(
            Limit("activation", Activation.GELU_TANH, "its Gemma 3 gates by GELU's tanh formula."),
            Limit("qkv_bias", False, "its Gemma 3 has no attention biases."),
            Limit("logit_cap", None, "its Gemma 3 has no soft cap of the scores."),
        ),
    ),
    tiny={
        "model_type": "gemma3_text",
        **TINY,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_theta": 1000.0,
        "rope_scaling": {"rope_type": "linear", "factor": 4.0},
        "rope_local_base_freq": 100.0,
        "final_logit_softcapping": 3.0,
    },
)
