"""Ministral 3: Mistral's graph under YaRN, with queries that grow with their position."""

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
from vox_populi.hf.rope_config import RopeKind, RopeRule

FAMILY = ModelFamily(
    name="ministral3",
    label="Ministral 3",
    architectures=("Ministral3ForCausalLM", "Ministral3Model"),
    config=ConfigFormat(
        default_positions=262_144,
        default_kv_heads=8,
        default_head_dim=128,
        default_norm_eps=1e-5,
        sliding=SlidingRule(),
        rope=RopeRule(
            # The class reads the growth of queries, and the context it starts from, of every file;
            # under any other rule transformers does not fill that context in.
            kinds={"yarn": RopeKind.YARN, "llama3": RopeKind.LLAMA3},
            query_growth="llama_4_scaling_beta",
            default={
                "rope_type": "yarn",
                "rope_theta": 1_000_000.0,
                "factor": 16.0,
                "original_max_position_embeddings": 16_384,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "mscale": 1.0,
                "mscale_all_dim": 1.0,
                "llama_4_scaling_beta": 0.1,
            },
        ),
    ),
    tensors=TENSORS,
    gguf=GgufForm(
        architecture="MISTRAL3",
        paired_rotation=True,
        yarn_is_unscaled=True,
        limits=(
            Limit("rope.kind", RopeKind.YARN, "llama.cpp's Ministral 3 rotates by YaRN"),
            Limit("activation", Activation.SILU, "llama.cpp's Ministral 3 gates by SiLU"),
        ),
    ),
    mlx=MlxForm(
        limits=(
            Limit("activation", Activation.SILU, "its Ministral 3 gates by SiLU."),
            Limit("sliding_window", None, "its Ministral 3 has a window only in listed layers."),
        ),
    ),
    tiny={
        "model_type": "ministral3",
        **TINY,
        "head_dim": 8,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 100.0,
            "factor": 4.0,
            "original_max_position_embeddings": 4,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "llama_4_scaling_beta": 0.5,
        },
    },
)
