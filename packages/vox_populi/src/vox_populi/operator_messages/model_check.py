"""Model families, and whether a base can be trained."""

from __future__ import annotations

OTHER_TYPES = (
    "Other causal language models of transformers are proven on their own config before training:"
    " vox mens models check FOLDER"
)
"""What follows the table of families."""

NATIVE_GRAPH = "native code"
WEIGHTS_HERE = "in the folder"
WEIGHTS_NOT_HERE = "not here; the config alone was checked"
NOT_LISTED = "not this type; see: vox mens models"
