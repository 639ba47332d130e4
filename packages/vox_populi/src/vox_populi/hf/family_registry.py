"""Every supported model family; a new one is a file in `hf/families` and a name here."""

from __future__ import annotations

from vox_populi.hf.families import (
    gemma2,
    gemma3,
    gpt2,
    granite,
    granitemoehybrid,
    llama,
    ministral3,
    mistral,
    mixtral,
    olmo2,
    olmo3,
    phi3,
    qwen2,
    qwen3,
    qwen3_moe,
    smollm3,
)
from vox_populi.hf.model_family import ModelFamily

FAMILIES: tuple[ModelFamily, ...] = tuple(
    module.FAMILY
    for module in (
        gemma2,
        gemma3,
        gpt2,
        granite,
        granitemoehybrid,
        llama,
        ministral3,
        mistral,
        mixtral,
        olmo2,
        olmo3,
        phi3,
        qwen2,
        qwen3,
        qwen3_moe,
        smollm3,
    )
)


def family_of(model_type: str) -> ModelFamily | None:
    """The family of a config's `model_type`, if it is supported."""
    for family in FAMILIES:
        if model_type in (family.name, *family.other_names):
            return family
    return None
