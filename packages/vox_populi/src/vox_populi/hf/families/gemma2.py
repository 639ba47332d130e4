"""Gemma 2: norms before and after attention and MLP, soft caps, windows in every other layer."""

from __future__ import annotations

from dataclasses import replace

from vox_populi.hf.families.llama import ATTENTION, MLP
from vox_populi.hf.families.llama import TENSORS as LLAMA
from vox_populi.hf.model_family import (
    Activation,
    ConfigFormat,
    FixedSetting,
    Limit,
    MlxForm,
    ModelFamily,
    NormKind,
    SlidingRule,
    SoftCap,
)

TENSORS = replace(
    LLAMA,
    block={
        "attn_norm": "input_layernorm",
        **ATTENTION,
        "attn_post_norm": "post_attention_layernorm",
        "mlp_norm": "pre_feedforward_layernorm",
        **MLP,
        "mlp_post_norm": "post_feedforward_layernorm",
    },
)
TINY = {
    "vocab_size": 24,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 32,
    "query_pre_attn_scalar": 16,
    "sliding_window": 3,
}
CAUSAL = FixedSetting("use_bidirectional_attention", (False,), "attention to later tokens")

FAMILY = ModelFamily(
    name="gemma2",
    label="Gemma 2",
    architectures=("Gemma2ForCausalLM", "Gemma2Model"),
    norm=NormKind.RMS_CENTRED,
    config=ConfigFormat(
        default_kv_heads=4,
        default_head_dim=256,
        default_positions=8192,
        activation="hidden_activation",
        default_activation="gelu_pytorch_tanh",
        tied_by_default=True,
        qkv_bias="attention_bias",
        o_bias="attention_bias",
        scales_embeddings=True,
        query_scalar="query_pre_attn_scalar",
        attention_cap=SoftCap("attn_logit_softcapping", 50.0),
        logit_cap=SoftCap("final_logit_softcapping", 30.0),
        sliding=SlidingRule(default_window=4096, full_every=2),
        fixed=(CAUSAL,),
    ),
    tensors=TENSORS,
    mlx=MlxForm(
        always_ties_head=True,
        reads_rope_parameters=False,
        needed_keys=("query_pre_attn_scalar",),
        limits=(
            Limit("activation", Activation.GELU_TANH, "its Gemma 2 gates by GELU's tanh formula."),
            Limit("qkv_bias", False, "its Gemma 2 has no attention biases."),
            Limit("sliding_window", None, "its Gemma 2 has no sliding window."),
        ),
    ),
    tiny={
        "model_type": "gemma2",
        **TINY,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 3.0,
    },
)
