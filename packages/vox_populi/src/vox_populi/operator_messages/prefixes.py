"""Tokens that rows begin with alike."""

from __future__ import annotations

NOT_ASKED_FOR = "--share-prefixes never"
DROPOUT = "dropout draws a mask for each row"
TRANSFORMERS = "transformers computes every row as a whole"


def only_on_the_cpu(device: str) -> str:
    """Why nothing is shared on another device."""
    return f"they can be computed once on a CPU, not on {device}"


def longrope(original: int) -> str:
    """Why nothing is shared with rows beyond the context before scaling."""
    return f"this base rotates the tokens of rows beyond {original:,} in another way"


def shared(part: float, n_rows: int) -> str:
    """The row of a plan."""
    return f"computed once: {_part(part)} of the tokens, by a sample of {n_rows} rows"


def unshared(part: float, n_rows: int, reason: str) -> str:
    """The row of a plan whose rows have tokens in common."""
    return f"computed for each row, {_part(part)} of the tokens, by a sample of {n_rows}: {reason}"


def _part(part: float) -> str:
    return f"{100 * part:.0f} %"
