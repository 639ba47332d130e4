"""Random tiny mixtures of experts; `tiny_models` builds and writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from transformers import MixtralConfig, PretrainedConfig, Qwen3MoeConfig

MIXTURES = ("mixtral", "qwen3_moe")
"""Families whose tokens choose experts: rounded numbers can choose others, which is a jump."""


def mixture_configs(llama: Mapping[str, Any]) -> dict[str, Callable[[], PretrainedConfig]]:
    """A builder per variant, of the sizes of the tiny Llama."""

    def mixtral(**changes: Any) -> PretrainedConfig:
        sizes = {"num_local_experts": 5, "num_experts_per_tok": 2}
        return MixtralConfig(**{**llama, **sizes, **changes})

    def qwen3_moe(**changes: Any) -> PretrainedConfig:
        # Few experts, so that each gets tokens of a short row, and one gets none of a shorter.
        sizes = {"moe_intermediate_size": 20, "num_experts": 5, "num_experts_per_tok": 2}
        return Qwen3MoeConfig(**{**llama, **sizes, **changes})

    return {
        "mixtral": lambda: mixtral(sliding_window=8),
        "mixtral_every_expert": lambda: mixtral(num_experts_per_tok=5),
        "qwen3_moe": lambda: qwen3_moe(norm_topk_prob=True, mlp_only_layers=[1]),
        "qwen3_moe_every_expert": lambda: qwen3_moe(num_experts_per_tok=5),
        "qwen3_moe_sparse_step": lambda: qwen3_moe(
            decoder_sparse_step=2, use_sliding_window=True, sliding_window=8
        ),
    }
