"""Choosing, ordering and packing the rows of an optimizer step."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch

from vox_populi.train.seeds import Stream, stream_generator
from vox_tensor.collate import PackedBatch, collate_forest, collate_window
from vox_tensor.packing import Window, pack_rows
from vox_tensor.prefix_forest import pack_shared
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


def pack_windows(
    rows: Sequence[EncodedRow], window_tokens: int, *, share_prefixes: bool
) -> tuple[Window, ...]:
    """Pack rows into windows of at most `window_tokens` tokens that are computed.

    Args:
        rows: Of one optimizer step, or of a part of an evaluation.
        window_tokens: Most tokens of a window.
        share_prefixes: Compute once what rows of a window begin with alike.
    """
    if share_prefixes:
        return pack_shared([row.ids for row in rows], window_tokens)
    return pack_rows([len(row) for row in rows], window_tokens)


def pack_batches(
    rows: Sequence[EncodedRow],
    window_tokens: int,
    device: torch.device | str = "cpu",
    *,
    share_prefixes: bool = False,
) -> Iterator[PackedBatch]:
    """Pack rows as `pack_windows` does and collate each window when it is needed."""
    for window in pack_windows(rows, window_tokens, share_prefixes=share_prefixes):
        if window.ends:
            yield collate_forest(window, rows, device)
        else:
            yield collate_window([rows[segment.row] for segment in window.segments], device)
