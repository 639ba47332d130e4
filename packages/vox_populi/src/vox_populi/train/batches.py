"""Choosing, ordering and packing the rows of an optimizer step."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch

from vox_populi.train.seeds import Stream, stream_generator
from vox_tensor.collate import PackedBatch, collate_window
from vox_tensor.packing import pack_rows
from vox_tensor.records import EncodedRow

_PIECE = 2**16
"""Numbers that are Python objects at a time; a list of all would take 36 bytes for each row."""


class RowSource(Protocol):
    """Encoded rows by index, such as `data.dataset.RowDataset`."""

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def __getitem__(self, index: int, /) -> EncodedRow:
        """One row, encoded."""
        ...


UNGRADED = 5.0
"""Difficulty that a row without one counts as; the source system's."""


def epoch_order(
    n_rows: int, seed: int, epoch: int, difficulties: Sequence[float] | None = None
) -> array[int]:
    """The rows of an epoch, shuffled by the stream (seed, shuffle, epoch); 4 bytes each.

    Args:
        n_rows: Number of rows.
        seed: The run's.
        epoch: Its number, from 0.
        difficulties: If given, easy rows come first: rows are sorted by these numbers, with 0 as
            `UNGRADED`, and those of one difficulty keep their shuffled order.
    """
    generator = stream_generator(seed, Stream.SHUFFLE, epoch)
    shuffled = torch.randperm(n_rows, generator=generator)
    if difficulties is not None:
        grades = torch.asarray(array("f", difficulties))
        grades = torch.where(grades == 0, UNGRADED, grades)
        shuffled = shuffled[torch.argsort(grades[shuffled], stable=True)]
    order = array("I")
    for piece in shuffled.split(_PIECE):
        order.extend(piece.tolist())
    return order


def step_rows(order: Sequence[int], step: int, rows_per_step: int) -> Sequence[int]:
    """Row indices of one optimizer step of an epoch; the last step may be shorter."""
    return order[step * rows_per_step : (step + 1) * rows_per_step]


def pack_batches(
    rows: Sequence[EncodedRow], window_tokens: int, device: torch.device | str = "cpu"
) -> Iterator[PackedBatch]:
    """Pack rows into windows of at most `window_tokens` and collate each when it is needed."""
    for window in pack_rows([len(row) for row in rows], window_tokens):
        yield collate_window([rows[segment.row] for segment in window.segments], device)
