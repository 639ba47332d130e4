"""OLMo 2: norms after attention and MLP, and over queries and keys of all heads together."""

from __future__ import annotations

from dataclasses import replace

from vox_populi.hf.families.llama import MLP, NORMED_ATTENTION, TINY
from vox_populi.hf.families.llama import TENSORS as LLAMA
from vox_populi.hf.model_family import (
    Activation,
    ConfigFormat,
    Limit,
    MlxForm,
    ModelFamily,
    NormKind,
    SlidingRule,
)

TENSORS = replace(
    LLAMA,
    block={
        **NORMED_ATTENTION,
        "attn_post_norm": "post_attention_layernorm",
        **MLP,
        "mlp_post_norm": "post_feedforward_layernorm",
    },
)
"""Names that OLMo 3 shares."""

FAMILY = ModelFamily(
    name="olmo2",
    label="OLMo 2",
    architectures=("Olmo2ForCausalLM", "Olmo2Model"),
    norm=NormKind.RMS_WIDE,
    qk_norm_is_wide=True,
    config=ConfigFormat(
        default_positions=2048,
        default_norm_eps=1e-5,
        qkv_bias="attention_bias",
        o_bias="attention_bias",
        sliding=SlidingRule(window=None),
    ),
    tensors=TENSORS,
    mlx=MlxForm(
        reads_rope_parameters=False,
        needed_keys=("tie_word_embeddings",),
        limits=(Limit("activation", Activation.SILU, "its OLMo 2 gates by SiLU."),),
    ),
    tiny={"model_type": "olmo2", **TINY},
)
