"""What the operator should know about attention on a device."""

from __future__ import annotations

import torch

from vox_populi.hf.model_config import ModelConfig
from vox_populi.operator_messages import environment as say
from vox_tensor.varlen_attention import why_no_varlen


def attention_notes(device: str, dtype: torch.dtype, config: ModelConfig) -> tuple[str, ...]:
    """Why attention on a GPU does not take the kernel that computes whole windows.

    Args:
        device: torch's name.
        dtype: Dtype of queries, keys and values.
        config: The model.
    """
    place = torch.device(device)
    if place.type != "cuda":
        return ()
    if config.attention_cap is not None:
        return (say.note_attention_by_rows("it has no soft cap"),)
    reason = why_no_varlen(place, dtype, config.head_dim, config.n_heads // config.n_kv_heads)
    return () if reason is None else (say.note_attention_by_rows(reason),)
