"""What the blocks of a class in transformers keep for their backward pass. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class KeptBytes(NamedTuple):
    """Bytes that one block keeps of one row."""

    whole: int
    """Everything."""
    in_mlp: int = 0
    """The part of it that the MLP keeps."""

    def times(self, factor: int) -> KeptBytes:
        """The same in values of so many times the size."""
        return KeptBytes(self.whole * factor, self.in_mlp * factor)


@dataclass(frozen=True, slots=True)
class KeptByBlocks:
    """What every block keeps of a row of so many tokens."""

    row: int
    blocks: tuple[KeptBytes, ...]

    def of_window(self, n_bytes: int, tokens: int) -> int:
        """Bytes of a window of such rows, rounded up to a byte.

        Args:
            n_bytes: Bytes of one row.
            tokens: Tokens of the window.
        """
        return -(-n_bytes * tokens // self.row)
