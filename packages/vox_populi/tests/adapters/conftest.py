"""Tests of tensors are not collected on an install without torch."""

from __future__ import annotations

from importlib.util import find_spec

_NEED_TORCH = [
    "test_lora_bin.py",
    "test_golden_adapters.py",
    "peft/test_adapter.py",
    "v3/test_files.py",
]
collect_ignore = [] if find_spec("torch") else _NEED_TORCH
