"""Model families, and whether a base can be trained (MENS-V065 to V069)."""

from __future__ import annotations

OTHER_TYPES = (
    "Other causal language models of transformers are proven on their own config before training."
)
"""What follows the table of families."""
