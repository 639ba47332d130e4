"""A slower way of attention is said on CUDA, and only there."""

from __future__ import annotations

import pytest
import torch

from vox_populi.hf.families import gemma2
from vox_populi.hf.model_config import parse_model_config
from vox_populi.kernel import attention_backend
from vox_populi.kernel.attention_backend import attention_notes

CONFIG = parse_model_config(
    {
        "model_type": "llama",
        "hidden_size": 48,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "num_hidden_layers": 1,
        "intermediate_size": 8,
        "vocab_size": 16,
        "max_position_embeddings": 16,
    },
    "config.json",
)


def test_a_reason_against_the_kernel_is_a_note_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def why(*kind: object) -> str | None:
        asked.append(kind)
        return "it has no kernel for float32" if torch.float32 in kind else None

    monkeypatch.setattr(attention_backend, "why_no_varlen", why)
    assert attention_notes("cpu", torch.float32, CONFIG) == ()
    capped = parse_model_config(gemma2.FAMILY.tiny, "config.json")
    (note,) = attention_notes("cuda", torch.bfloat16, capped)
    assert "soft cap" in note
    assert attention_notes("mps", torch.float32, CONFIG) == ()
    assert asked == []
    (note,) = attention_notes("cuda", torch.float32, CONFIG)
    assert "no kernel for float32" in note
    assert attention_notes("cuda", torch.bfloat16, CONFIG) == ()
    assert asked[1] == (torch.device("cuda"), torch.bfloat16, 8, 3)
