"""Encoded rows as columns of numbers: the arrays of a part, and the files of an entry.

| File | Content |
|---|---|
| `indices.u32` | index of each row in its file or files |
| `parts.u16` | number of the row among those of one index |
| `lengths.u32` | tokens of each row |
| `supervised.u32` | supervised tokens of each row |
| `weights.f64` | weight of each row in the loss |
| `difficulties.f32` | difficulty of each row; 0 for a row without one |
| `ends.u64` | end of each row in `tokens.bin` |
| `tokens.bin` | per row: its ids, 2 or 4 bytes each, then pairs of 4-byte numbers |

The pairs are first and last token of each learned stretch. Numbers are in the machine's byte order,
which is part of an entry's name.
"""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vox_tensor.records import IGNORE_INDEX, EncodedRow

COLUMNS = {
    "indices.u32": "I",
    "parts.u16": "H",
    "lengths.u32": "I",
    "supervised.u32": "I",
    "weights.f64": "d",
    "difficulties.f32": "f",
    "ends.u64": "Q",
}
"""Type code of each column by the name of its file."""
TOKENS = "tokens.bin"
_WIDE = "I"
_SIGN = slice(3 if sys.byteorder == "little" else 0, None, 4)
"""The bytes with the signs of four-byte numbers: ids are at least 0, what is not learned is not."""
_MASKED = re.compile(b"\xff+")


def id_type(vocab_size: int) -> str:
    """The narrowest type code for ids below a size."""
    return "H" if vocab_size <= 2**16 else _WIDE


@dataclass(slots=True)
class PartColumns:
    """The rows of a part of a file.

    Args:
        id_code: Type code of ids.
    """

    id_code: str
    columns: dict[str, array[Any]] = field(
        default_factory=lambda: {name: array(code) for name, code in COLUMNS.items()}
    )
    tokens: bytearray = field(default_factory=bytearray)

    def append(self, row: EncodedRow, part: int) -> None:
        """Add a row; its `line` is its index."""
        indices, parts, lengths, supervised, weights, difficulties, ends = self.columns.values()
        indices.append(row.line)
        parts.append(part)
        lengths.append(len(row))
        supervised.append(row.n_supervised)
        weights.append(row.weight)
        difficulties.append(row.difficulty or 0.0)
        self.tokens += array(self.id_code, row.ids).tobytes()
        self.tokens += array(_WIDE, _learned(row.labels)).tobytes()
        ends.append(len(self.tokens))


def decoded(data: bytes, length: int, id_code: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ids and labels of a row, of its bytes in `tokens.bin`."""
    ids, spans = array(id_code), array(_WIDE)
    n_bytes = length * ids.itemsize
    ids.frombytes(data[:n_bytes])
    spans.frombytes(data[n_bytes:])
    all_ids = tuple(ids)
    labels = [IGNORE_INDEX] * length
    for start, end in zip(spans[::2], spans[1::2], strict=True):
        labels[start:end] = all_ids[start:end]
    return all_ids, tuple(labels)


def _learned(labels: Sequence[int]) -> list[int]:
    """First and last token of each learned stretch, one after the other."""
    signs = array("i", labels).tobytes()[_SIGN]
    borders, position = [0], 0
    for masked in _MASKED.finditer(signs):
        start, end = masked.span()
        if start == position == 0:
            borders = [end]
        else:
            borders += [start, end]
        position = end
    borders.append(len(labels))
    if borders[-1] == borders[-2]:
        del borders[-2:]
    return borders
