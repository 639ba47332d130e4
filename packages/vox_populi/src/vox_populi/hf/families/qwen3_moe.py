"""Qwen3-MoE: Qwen3's attention, and in most layers experts in place of the MLP."""

from __future__ import annotations

from dataclasses import replace

from vox_populi.hf.families import qwen3
from vox_populi.hf.families.llama import TINY
from vox_populi.hf.model_family import (
    ConfigFormat,
    ExpertNames,
    ExpertsRule,
    Limit,
    MlxForm,
    ModelFamily,
    SlidingRule,
)

FAMILY = ModelFamily(
    name="qwen3_moe",
    label="Qwen3-MoE",
    architectures=("Qwen3MoeForCausalLM", "Qwen3MoeModel"),
    config=ConfigFormat(
        default_positions=32_768,
        default_kv_heads=4,
        qkv_bias="attention_bias",
        o_bias="attention_bias",
        sliding=SlidingRule(default_window=4096, by_flag=True),
        experts=ExpertsRule(
            default_count=128,
            default_per_token=8,
            width="moe_intermediate_size",
            default_width=768,
            norm="norm_topk_prob",
            sparse_step="decoder_sparse_step",
            dense_layers="mlp_only_layers",
        ),
    ),
    tensors=replace(
        qwen3.FAMILY.tensors,
        experts=ExpertNames(
            router="mlp.gate",
            experts="mlp.experts.",
            each={"gate": "gate_proj", "up": "up_proj", "down": "down_proj"},
        ),
    ),
    mlx=MlxForm(limits=(Limit("experts", None, "adapters of its experts are not written yet."),)),
    tiny={
        "model_type": "qwen3_moe",
        **TINY,
        "head_dim": 8,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 12,
        "norm_topk_prob": True,
    },
)
