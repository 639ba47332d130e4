"""Tests of tensors are not collected on an install without torch."""

from __future__ import annotations

from importlib.util import find_spec

TENSORS = ["test_checkpoint_roundtrip.py", "test_checkpoint_state.py"]
collect_ignore = [] if find_spec("torch") else TENSORS
