"""Random tiny vision-language models around the text models of `tiny_models`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    Gemma3Config,
    InternVLConfig,
    InternVLVisionConfig,
    LlavaConfig,
    Mistral3Config,
    PixtralVisionConfig,
    PretrainedConfig,
    SiglipVisionConfig,
    SmolVLMConfig,
    SmolVLMVisionConfig,
)

from tests_integration.tiny_models import CONFIGS, draw_parameters

_VISION: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}


def _around(outer: Any, text: str, vision: PretrainedConfig, **more: Any) -> Any:
    inner = CONFIGS[text]()
    tie = inner.tie_word_embeddings
    return outer(text_config=inner, vision_config=vision, tie_word_embeddings=tie, **more)


NESTED: Mapping[str, Callable[[], Any]] = {
    "gemma3": lambda: _around(
        Gemma3Config, "gemma3", SiglipVisionConfig(**_VISION), mm_tokens_per_image=4
    ),
    "mistral3": lambda: _around(
        Mistral3Config, "ministral3_sliding", PixtralVisionConfig(**_VISION)
    ),
    "llava": lambda: _around(LlavaConfig, "llama_tied", CLIPVisionConfig(**_VISION)),
    "internvl": lambda: _around(
        InternVLConfig,
        "qwen2",
        InternVLVisionConfig(**{**_VISION, "image_size": [8, 8], "patch_size": [4, 4]}),
    ),
    "smolvlm": lambda: _around(SmolVLMConfig, "llama", SmolVLMVisionConfig(**_VISION)),
}
"""A builder per outer class; the text models are families and ways of tying the head."""


def write_nested(folder: Path, name: str, *, older_names: bool = True, text: str = "") -> Any:
    """Write a variant of `NESTED` and return it in evaluation mode.

    Args:
        folder: Made if it is not there.
        name: Key of `NESTED`.
        older_names: The names that published folders have, and not those of the modules.
        text: Another text model, by its key in `CONFIGS`.
    """
    config = NESTED[name]()
    if text:
        config.text_config = CONFIGS[text]()
        config.tie_word_embeddings = config.text_config.tie_word_embeddings
    # Theirs, unannotated.
    model: Any = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    draw_parameters(model, 0, 0.0 if name == "gemma3" else 1.0)
    model.save_pretrained(folder, save_original_format=older_names, max_shard_size="60KB")
    return model.eval()
