"""The architectures that are built and the activations they may have, by their names in configs."""

from __future__ import annotations

from enum import StrEnum


class Family(StrEnum):
    """Architectures that are built; the values are `model_type` in configs."""

    GPT2 = "gpt2"
    LLAMA = "llama"
    MISTRAL = "mistral"
    QWEN2 = "qwen2"
    QWEN3 = "qwen3"


class Activation(StrEnum):
    """Activation of the MLP."""

    SILU = "silu"
    GELU = "gelu"
    """With the error function."""
    GELU_TANH = "gelu_tanh"
    """With the tanh approximation: `gelu_new` and `gelu_pytorch_tanh` in configs."""
