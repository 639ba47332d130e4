"""Tokenizers that are not a `tokenizer.json` yet (MENS-H150 to H159)."""

from __future__ import annotations

from vox_tensor.errors import Problem


def tokenizer_json_missing(where: str, beside: str) -> Problem:
    """A model folder with a tokenizer in an older form."""
    return Problem(
        code="MENS-H150",
        what=f"there is no tokenizer.json, only {beside}.",
        fix=f"Make one of it once: vox mens convert-tokenizer {where}",
        where=where,
    )


SENTENCEPIECE_BROKEN = Problem(
    code="MENS-H151",
    what="not a valid SentencePiece file.",
    fix="Download the file again.",
)
"""A file that is not SentencePiece's."""


def tokenizer_not_convertible(reason: str) -> Problem:
    """A tokenizer that this program cannot convert to the same ids."""
    return Problem(
        code="MENS-H152",
        what=f"it cannot be converted: {reason}.",
        fix="Convert it with transformers, in Python: AutoTokenizer.from_pretrained(FOLDER)"
        ".save_pretrained(FOLDER)",
    )


TOKENIZER_FILES_MISSING = Problem(
    code="MENS-H153",
    what="there is no tokenizer.model, and no vocab.json with merges.txt.",
    fix="Pass the folder of a model that has one of these.",
)
"""A folder with nothing to convert."""

TOKENIZER_JSON_EXISTS = Problem(
    code="MENS-H154",
    what="it exists already, and is what every command reads.",
    fix="Use the folder as it is, or pass --output with a new file.",
)
"""The file to write is there already."""
