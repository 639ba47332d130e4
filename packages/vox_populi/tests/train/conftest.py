"""Tests of the training engine; not collected on an install without torch."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("torch") else ["test_*.py", "optimizers/test_*.py"]
