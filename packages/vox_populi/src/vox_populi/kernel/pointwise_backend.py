"""What the operator should know about pointwise work on a device: norms, rotation, gate, loss."""

from __future__ import annotations

import torch

from vox_populi.hf.model_config import ModelConfig
from vox_populi.hf.model_family import NormKind
from vox_populi.operator_messages import environment as say
from vox_tensor.fused_kernels import why_not_fused
from vox_tensor.fused_parts import FusedPart


def pointwise_notes(device: str, dtype: torch.dtype, config: ModelConfig) -> tuple[str, ...]:
    """Why a part of a model on a GPU is not computed by our kernel, in a note for each reason.

    Args:
        device: torch's name.
        dtype: Dtype of the activations.
        config: The model.
    """
    place = torch.device(device)
    if place.type != "cuda":
        return ()
    parts_of: dict[str, list[str]] = {}
    for part in fused_parts(config):
        reason = why_not_fused(part, place, dtype)
        if reason is not None:
            parts_of.setdefault(reason, []).append(part.value)
    return tuple(say.note_parts_by_torch(parts, reason) for reason, parts in parts_of.items())


def fused_parts(config: ModelConfig) -> tuple[FusedPart, ...]:
    """The parts of a model that have a kernel."""
    is_rms = config.family.norm in (NormKind.RMS, NormKind.RMS_WIDE)
    parts = [FusedPart.NORM] if is_rms else []
    if config.rope is not None:
        is_normed = is_rms and config.qk_norm and not config.family.qk_norm_is_wide
        parts.append(FusedPart.NORMED_TURN if is_normed else FusedPart.TURN)
    if config.gated_mlp:
        parts.append(FusedPart(config.activation.value))
    return (*parts, FusedPart.LOSS)
