"""Mixtral: Mistral's graph with experts in place of every MLP."""

from __future__ import annotations

from dataclasses import replace

from vox_populi.hf.families.llama import TENSORS, TINY
from vox_populi.hf.model_family import (
    ConfigFormat,
    ExpertNames,
    ExpertsRule,
    FixedSetting,
    Limit,
    MlxForm,
    ModelFamily,
    SlidingRule,
)
from vox_populi.hf.rope_config import RopeRule

FAMILY = ModelFamily(
    name="mixtral",
    label="Mixtral",
    architectures=("MixtralForCausalLM", "MixtralModel"),
    config=ConfigFormat(
        default_positions=131_072,
        default_kv_heads=8,
        default_norm_eps=1e-5,
        sliding=SlidingRule(),
        rope=RopeRule(default_theta=1_000_000.0),
        experts=ExpertsRule(
            default_count=8, default_per_token=2, width="intermediate_size", default_width=14_336
        ),
        fixed=(
            FixedSetting(
                "router_jitter_noise", (0, 0.0), "noise on the router's input in training"
            ),
        ),
    ),
    tensors=replace(
        TENSORS,
        block={ours: name for ours, name in TENSORS.block.items() if not ours.startswith("mlp.")},
        experts=ExpertNames(
            router="block_sparse_moe.gate",
            experts="block_sparse_moe.experts.",
            each={"gate": "w1", "up": "w3", "down": "w2"},
            other_prefixes={"mlp.": "block_sparse_moe."},
        ),
    ),
    mlx=MlxForm(
        reads_rope_parameters=False,
        limits=(Limit("experts", None, "adapters of its experts are not written yet."),),
    ),
    tiny={
        "model_type": "mixtral",
        **TINY,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": 3,
    },
)
