"""Mistral: Llama's graph, with a sliding window in every layer and no biases."""

from __future__ import annotations

from vox_populi.hf.families.llama import TENSORS, TINY
from vox_populi.hf.model_family import ConfigFormat, GgufForm, MlxForm, ModelFamily, SlidingRule

FAMILY = ModelFamily(
    name="mistral",
    label="Mistral",
    architectures=("MistralForCausalLM", "MistralModel"),
    config=ConfigFormat(
        default_positions=131_072,
        default_kv_heads=8,
        sliding=SlidingRule(default_window=4096),
    ),
    tensors=TENSORS,
    gguf=GgufForm(architecture="LLAMA", paired_rotation=True),
    mlx=MlxForm(reads_rope_parameters=False),
    tiny={"model_type": "mistral", **TINY, "sliding_window": 3},
)
