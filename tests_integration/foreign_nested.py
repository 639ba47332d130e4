"""Random tiny folders of classes around a text model, in the names that published ones have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForMultimodalLM, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from tests_integration.tiny_models import (
    MAX_POSITIONS,
    VOCAB,
    draw_parameters,
    write_tiny_tokenizer,
)
from vox_populi.hf.small_config import small_config

_WIDTH = 64
"""Of the text models."""
_PLAIN: Mapping[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}
_QWEN: Mapping[str, Any] = {
    "depth": 1,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_heads": 2,
    "out_hidden_size": _WIDTH,
    "patch_size": 4,
    "num_position_embeddings": 16,
}
_DEEP: Mapping[str, Any] = {**_QWEN, "deepstack_visual_indexes": [0]}
_ROTATED = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 2, 2]}
_WITH_PARTS: Mapping[str, Any] = {"text_config": {"rope_parameters": _ROTATED}}
_HALF_ROTATED = {**_ROTATED, "mrope_section": [2, 1, 1], "partial_rotary_factor": 0.5}

VISION: Mapping[str, Mapping[str, Any]] = {
    "aria": {**_PLAIN, "model_type": "idefics3_vision"},
    "aya_vision": {**_PLAIN, "model_type": "siglip_vision_model"},
    "cohere2_vision": {**_PLAIN, "model_type": "siglip_vision_model"},
    "gemma3": _PLAIN,
    "gemma4": {**_PLAIN, "num_key_value_heads": 2, "head_dim": 8, "global_head_dim": 8},
    "glm4v": {**_QWEN, "image_size": 16},
    "glm4v_moe": {**_QWEN, "image_size": 16},
    "idefics3": _PLAIN,
    "internvl": {**_PLAIN, "image_size": [8, 8], "patch_size": [4, 4]},
    "lfm2_vl": {**_PLAIN, "num_patches": 4},
    "llama4": _PLAIN,
    "llava": {**_PLAIN, "model_type": "clip_vision_model"},
    "llava_next": {**_PLAIN, "model_type": "clip_vision_model"},
    "llava_onevision": {**_PLAIN, "model_type": "siglip_vision_model"},
    "mistral3": {**_PLAIN, "model_type": "pixtral"},
    "mllama": {**_PLAIN, "num_global_layers": 1, "vision_output_dim": 32,
               "intermediate_layers_indices": [0]},
    "paligemma": {**_PLAIN, "projection_dim": _WIDTH},
    "qwen2_5_vl": {**_QWEN, "fullatt_block_indexes": [0]},
    "qwen2_vl": {"depth": 1, "embed_dim": 16, "hidden_size": _WIDTH, "num_heads": 2,
                 "mlp_ratio": 2, "patch_size": 4},
    "qwen3_5": _QWEN,
    "qwen3_5_moe": _QWEN,
    "qwen3_vl": _DEEP,
    "qwen3_vl_moe": _DEEP,
    "smolvlm": _PLAIN,
}  # fmt: skip
"""The encoder of images of each outer class, in small."""
_MORE: Mapping[str, Mapping[str, Any]] = {
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "glm4v"), _WITH_PARTS),
    "glm4v_moe": {"text_config": {"rope_parameters": _HALF_ROTATED}},
    "gemma3": {"mm_tokens_per_image": 4},
    "gemma4": {"text_config": {"vocab_size_per_layer_input": VOCAB}},
    "paligemma": {"projection_dim": _WIDTH},
}


def nested_settings(model_type: str, **changes: Any) -> dict[str, Any]:
    """The `config.json` of a small model: the structure that its class has by default.

    Args:
        model_type: Key of `VISION`.
        changes: Fields of the text model's section.
    """
    config: Any = CONFIG_MAPPING[model_type]
    more = dict(_MORE.get(model_type, {}))
    small = small_config({**config().to_dict(), **more, "text_config": _text_section(config)})
    sizes = {"vocab_size": VOCAB, "max_position_embeddings": MAX_POSITIONS}
    ends = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    text = {**_mapping(small["text_config"]), **sizes, **ends, **more.get("text_config", {})}
    vision = {**_mapping(small.get("vision_config")), **VISION[model_type]}
    return {**small, "text_config": {**text, **changes}, "vision_config": vision}


def _text_section(config: Any) -> dict[str, Any]:
    found: dict[str, Any] = config().get_text_config(decoder=True).to_dict()
    return found


def _mapping(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def write_foreign_nested(
    folder: Path,
    model_type: str,
    *,
    older_names: bool = True,
    tokenizer: bool = True,
    spread: float = 1.0,
    **changes: Any,
) -> PreTrainedModel:
    """Write a model with `save_pretrained` and return it in evaluation mode.

    Args:
        folder: Made if it is not there.
        model_type: Key of `VISION`.
        older_names: The names that published folders have, and not those of the modules.
        tokenizer: Write `tokenizer.json` too.
        spread: Factor of the matrices.
        changes: Fields of the text model's section.
    """
    disable_progress_bar()  # type: ignore[no-untyped-call]  # theirs, unannotated
    config: Any = CONFIG_MAPPING[model_type]
    settings = config.from_dict(nested_settings(model_type, **changes))
    # Theirs, unannotated.
    model: Any = AutoModelForMultimodalLM.from_config(settings, dtype=torch.float32)  # type: ignore[no-untyped-call]
    draw_parameters(model, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(spread)
    model.eval().save_pretrained(folder, save_original_format=older_names)
    if tokenizer:
        write_tiny_tokenizer(folder)
    found: PreTrainedModel = model
    return found
