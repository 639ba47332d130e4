"""The family's factor of the embeddings and cap of the logits, for every graph.

No shapes are asked for: both are of single values.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vox_populi.hf.model_config import ModelConfig


def embedding_scale(config: ModelConfig, dtype: torch.dtype) -> float:
    """The factor of embeddings that are computed in `dtype`."""
    if not config.family.config.scales_embeddings:
        return config.embedding_scale
    # The root of the width, in the dtype of the embeddings, as in transformers.
    return float(torch.tensor(config.embedding_scale, dtype=dtype))


def soft_capped(logits: Tensor, cap: float | None) -> Tensor:
    """`cap * tanh(logits / cap)`, or the logits without a cap."""
    return logits if cap is None else torch.tanh(logits / cap) * cap
