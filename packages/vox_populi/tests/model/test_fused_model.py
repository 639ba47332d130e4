"""Whole models compute the same with the fused kernels as with torch's operations."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton has wheels for Linux on x86-64 only")

INTERPRETED = Path(__file__).parent / "fused_model.py"
F32_APART = 1e-4
"""Over one plus the value, in float32: sums in another order through two layers and back."""

LLAMA = ["cross entropy", "norm", "rotation", "silu"]


def test_losses_and_gradients_are_those_of_torchs_operations() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(INTERPRETED)],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout.splitlines()[-1])
    assert {case: found["asked"] for case, found in said.items()} == {
        "gpt2, none": ["cross entropy"],
        "llama, full": LLAMA,
        "olmo2, none": LLAMA,
        "phi3, none": LLAMA,
        "qwen3, none": ["cross entropy", "norm", "norm and rotation of heads", "silu"],
        "qwen3, full": ["cross entropy", "norm", "norm and rotation of heads", "silu"],
    }
    assert all(0 < found["apart"] <= F32_APART for found in said.values()), said
