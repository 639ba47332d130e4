"""OLMo 3: OLMo 2's graph, where three of four layers have a window and a rotation of their own."""

from __future__ import annotations

from dataclasses import replace

from vox_populi.hf.families.llama import TINY
from vox_populi.hf.families.olmo2 import FAMILY as OLMO2
from vox_populi.hf.model_family import (
    Activation,
    Limit,
    MlxForm,
    SlidingRule,
)
from vox_populi.hf.rope_config import LocalRope, RopeRule

_THETA = 500_000.0

FAMILY = replace(
    OLMO2,
    name="olmo3",
    label="OLMo 3",
    architectures=("Olmo3ForCausalLM", "Olmo3Model"),
    config=replace(
        OLMO2.config,
        sliding=SlidingRule(default_window=4096, full_every=4),
        rope=RopeRule(default_theta=_THETA),
        local_rope=LocalRope(theta=_THETA),
    ),
    mlx=MlxForm(
        reads_rope_parameters=False,
        needed_keys=("sliding_window", "rope_theta"),
        limits=(Limit("activation", Activation.SILU, "its OLMo 3 gates by SiLU."),),
    ),
    tiny={
        "model_type": "olmo3",
        **TINY,
        "sliding_window": 3,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10_000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
        },
    },
)
