"""The source of the code that computes a model's forward pass."""

from __future__ import annotations

from enum import StrEnum


class GraphSource(StrEnum):
    """The two sources of graphs, and the choice between them."""

    AUTO = "auto"
    """Our own transformer where the family has a file, otherwise transformers."""
    NATIVE = "native"
    """`model/transformer.py`."""
    TRANSFORMERS = "transformers"
    """The model's class in the library transformers, proven before use (decision 0041)."""
