"""What a mixture of experts adds to the estimates. No torch here.

Letters: D model width, N experts, K experts of a token, X width of an expert.
"""

from __future__ import annotations

from math import ceil

from vox_populi.hf.model_config import ModelConfig


def share_of_tokens(config: ModelConfig) -> float:
    """Share of the tokens that an expert computes on average; 1 without experts."""
    return 1.0 if config.experts is None else config.experts.per_token / config.experts.count


def kept_by_experts(config: ModelConfig) -> int:
    """Values per token that a mixture keeps besides its input: `D + 2 K X + 2 N + 8 K`.

    - D: the norm's result, which the router and all experts read;
    - 2 K X: gate and up of every expert of the token;
    - 2 N + 8 K: shares of all experts, weights and numbers of those chosen, in 4 or 8 bytes.
    """
    experts = config.experts
    if experts is None:
        return 0
    inner = 2 * experts.per_token * experts.width
    return config.hidden_size + inner + 2 * experts.count + 8 * experts.per_token


def width_as_mlp(config: ModelConfig) -> int:
    """Width of an MLP whose backward pass has as large temporaries as that of a mixture.

    If one expert computes every token: six buffers of X for its activations, four of D for its
    input, the gradients of both, and two sums in float32.
    """
    experts = config.experts
    return 0 if experts is None else ceil((6 * experts.width + 4 * config.hidden_size) / 4)
