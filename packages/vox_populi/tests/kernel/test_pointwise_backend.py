"""Parts of a model that a GPU computes without our kernels are named, on CUDA only."""

from __future__ import annotations

import pytest
import torch

from vox_populi.hf.family_registry import FAMILIES
from vox_populi.hf.model_config import parse_model_config
from vox_populi.kernel import pointwise_backend
from vox_populi.kernel.pointwise_backend import fused_parts, pointwise_notes
from vox_tensor.fused_parts import FusedPart

TINY = {family.name: parse_model_config(dict(family.tiny), "config.json") for family in FAMILIES}


def test_each_reason_is_one_note_with_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def why(part: FusedPart, device: torch.device, dtype: torch.dtype) -> str | None:
        asked.append((part, device, dtype))
        return "Triton is missing" if part in (FusedPart.NORM, FusedPart.SILU) else None

    monkeypatch.setattr(pointwise_backend, "why_not_fused", why)
    assert pointwise_notes("cpu", torch.float32, TINY["qwen3"]) == ()
    assert pointwise_notes("mps", torch.float32, TINY["qwen3"]) == ()
    assert asked == []
    (note,) = pointwise_notes("cuda", torch.bfloat16, TINY["qwen3"])
    assert note.startswith("norm, silu: ")
    assert "Triton is missing" in note
    assert {kind[1:] for kind in asked} == {(torch.device("cuda"), torch.bfloat16)}
    assert pointwise_notes("cuda", torch.bfloat16, TINY["gpt2"]) == ()


def test_parts_follow_the_family() -> None:
    assert fused_parts(TINY["gpt2"]) == (FusedPart.LOSS,)
    assert fused_parts(TINY["llama"]) == (
        FusedPart.NORM,
        FusedPart.TURN,
        FusedPart.SILU,
        FusedPart.LOSS,
    )
    assert FusedPart.NORMED_TURN in fused_parts(TINY["qwen3"])
