"""Tests of tensors are not collected on an install without torch."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = (
    [] if find_spec("torch") else ["test_forms.py", "gguf/test_file.py", "gguf/test_model.py"]
)
