"""The norm of a family, over so many features."""

from __future__ import annotations

from vox_populi.hf.model_config import ModelConfig
from vox_populi.hf.model_family import NormKind
from vox_populi.model.norm import LayerNorm, Norm, RmsNorm
from vox_populi.model.wide_norm import WideRmsNorm


def build_norm(config: ModelConfig, dim: int) -> Norm:
    """A norm over `dim` features, of the kind that the family has."""
    match config.family.norm:
        case NormKind.LAYER:
            return LayerNorm(dim, config.norm_eps)
        case NormKind.RMS_WIDE:
            return WideRmsNorm(dim, config.norm_eps)
        case NormKind.RMS_CENTRED:
            return WideRmsNorm(dim, config.norm_eps, centre=1.0)
        case NormKind.RMS:
            return RmsNorm(dim, config.norm_eps)
