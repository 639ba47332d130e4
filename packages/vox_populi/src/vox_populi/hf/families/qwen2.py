"""Qwen2 and Qwen 2.5: Llama's graph with biases on q, k and v, and windows in chosen layers."""

from __future__ import annotations

from vox_populi.hf.families.llama import TENSORS, TINY
from vox_populi.hf.model_family import ConfigFormat, GgufForm, MlxForm, ModelFamily, SlidingRule

FAMILY = ModelFamily(
    name="qwen2",
    label="Qwen2",
    # Older Qwen 2.5 files spell the type with its version; the graph is Qwen2's.
    other_names=("qwen2.5",),
    architectures=("Qwen2ForCausalLM", "Qwen2Model"),
    config=ConfigFormat(
        default_positions=32_768, qkv_bias=True, sliding=SlidingRule(by_layer=True)
    ),
    tensors=TENSORS,
    gguf=GgufForm(architecture="QWEN2"),
    mlx=MlxForm(reads_rope_parameters=False, rope_theta=1_000_000.0),
    tiny={"model_type": "qwen2", **TINY},
)
