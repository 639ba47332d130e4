"""Random tiny models of types that this program has no code for, written by transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from tests_integration.tiny_models import (
    MAX_POSITIONS,
    VOCAB,
    draw_parameters,
    write_tiny_tokenizer,
)
from vox_populi.hf.small_config import small_config


def foreign_settings(model_type: str, **changes: Any) -> dict[str, Any]:
    """The `config.json` of a small model: the structure that its class has by default."""
    config: Any = CONFIG_MAPPING[model_type]
    small = small_config(config().to_dict())
    sizes = {"vocab_size": VOCAB, "max_position_embeddings": MAX_POSITIONS}
    return {**small, **sizes, "bos_token_id": 0, "eos_token_id": 2, **changes}


def write_foreign_model(
    folder: Path,
    model_type: str,
    *,
    tokenizer: bool = False,
    dtype: torch.dtype = torch.float32,
    spread: float = 1.0,
    **changes: Any,
) -> PreTrainedModel:
    """Write a model with `save_pretrained` and return it in evaluation mode.

    Args:
        folder: Made if it is not there.
        model_type: As transformers knows it.
        tokenizer: Write `tokenizer.json` too.
        dtype: Type of the stored weights and of the returned model.
        spread: Factor of the matrices; recurrences amplify rounding where they are large.
        changes: Fields of the config.
    """
    disable_progress_bar()  # type: ignore[no-untyped-call]  # theirs, unannotated
    config: Any = CONFIG_MAPPING[model_type]
    settings = config.from_dict(foreign_settings(model_type, **changes))
    # Theirs, unannotated.
    model: Any = AutoModelForCausalLM.from_config(settings, dtype=torch.float32)  # type: ignore[no-untyped-call]
    draw_parameters(model, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(spread)
    model = model.to(dtype).eval()
    model.save_pretrained(folder)
    if tokenizer:
        write_tiny_tokenizer(folder)
    found: PreTrainedModel = model
    return found
