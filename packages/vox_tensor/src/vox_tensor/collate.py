"""Turning packed rows into the tensors of one forward pass, without padding.

Shape letters: T tokens of the window, S segments, P supervised positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vox_tensor.flash_forest import Branch
from vox_tensor.host_copy import copied_to
from vox_tensor.packing import Segment, Window
from vox_tensor.records import IGNORE_INDEX, EncodedRow


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Rows laid end to end; attention must stay inside a segment, or in a row with `branches`."""

    ids_T: Tensor
    """int64 token ids."""
    positions_T: Tensor
    """int64 positions, from 0 in each row."""
    offsets: tuple[int, ...]
    """S + 1 borders: segment s holds tokens `offsets[s]` to `offsets[s + 1]`."""
    supervised_P: Tensor
    """int64 indices into T of tokens whose *next* token is learned, ascending. Behind a shared
    segment there are several next tokens, each with an index."""
    targets_P: Tensor
    """int64 ids of those next tokens."""
    rows: tuple[int, ...]
    """Source line of each segment, for messages."""
    weights_P: Tensor | None = None
    """float32 weight of each supervised position; `None` where all of them are 1. A token that
    several rows share has the sum of theirs."""
    branches: tuple[Branch, ...] = ()
    """The segments that other segments continue, in token order; none if each row is one."""

    @property
    def n_tokens(self) -> int:
        """Number of tokens to compute."""
        return self.offsets[-1]

    @property
    def n_supervised(self) -> int:
        """Number of tokens that contribute to the loss; a shared one counts once."""
        return self.targets_P.shape[0]


def collate_window(rows: Sequence[EncodedRow], device: torch.device | str = "cpu") -> PackedBatch:
    """Lay rows end to end and find what is learned.

    Labels are shifted here: position t of a row predicts the row's token t + 1, and a row's
    last token predicts nothing.

    Raises:
        ValueError: If there are no rows.
    """
    if not rows:
        message = "a window needs at least one row"
        raise ValueError(message)
    ids: list[int] = []
    positions: list[int] = []
    supervised: list[int] = []
    targets: list[int] = []
    offsets = [0]
    for row in rows:
        start = len(ids)
        ids.extend(row.ids)
        positions.extend(range(len(row)))
        for t, label in enumerate(row.labels[1:]):
            if label != IGNORE_INDEX:
                supervised.append(start + t)
                targets.append(label)
        offsets.append(len(ids))
    ids_T, positions_T, supervised_P, targets_P = (
        copied_to(torch.tensor(values, dtype=torch.int64), device)
        for values in (ids, positions, supervised, targets)
    )
    lines = tuple(row.line for row in rows)
    weights_P = _weights(rows, device)
    return PackedBatch(
        ids_T, positions_T, tuple(offsets), supervised_P, targets_P, lines, weights_P
    )


def collate_forest(
    window: Window, rows: Sequence[EncodedRow], device: torch.device | str = "cpu"
) -> PackedBatch:
    """Lay the segments of `prefix_forest.pack_shared` end to end and find what is learned.

    A token that is learned in several rows counts with the sum of their weights, so that the sum of
    losses is that of the rows laid out one by one.

    Args:
        window: Segments, and where each row ends.
        rows: The rows that were packed, not only those of the window.
        device: Where the tensors go.
    """
    segments = window.segments
    ids: list[int] = []
    positions: list[int] = []
    for each in segments:
        end = each.position + each.length
        ids.extend(rows[each.row].ids[each.position : end])
        positions.extend(range(each.position, end))
    learned = _learned(window, rows)
    places, targets = zip(*learned, strict=True) if learned else ((), ())
    ids_T, positions_T, supervised_P, targets_P = (
        copied_to(torch.tensor(values, dtype=torch.int64), device)
        for values in (ids, positions, places, targets)
    )
    weights_P = None
    if any(weight != 1 for weight in learned.values()):
        weights_P = torch.tensor(list(learned.values()), dtype=torch.float32)
        weights_P = copied_to(weights_P, device)
    return PackedBatch(
        ids_T,
        positions_T,
        (0, *(each.start + each.length for each in segments)),
        supervised_P,
        targets_P,
        tuple(rows[each.row].line for each in segments),
        weights_P,
        _branches(segments),
    )


def _learned(window: Window, rows: Sequence[EncodedRow]) -> dict[tuple[int, int], float]:
    """The weight of each place in the window and token to predict there, in ascending order."""
    learned: dict[tuple[int, int], float] = {}
    for index, end in window.ends:
        row, segment = rows[index], window.segments[end]
        for t in range(len(row) - 1, 0, -1):
            # The token before it predicts it, and that one may be in the segment above.
            while t - 1 < segment.position:
                assert segment.parent is not None, "a root begins at the first token"
                segment = window.segments[segment.parent]
            label = row.labels[t]
            if label != IGNORE_INDEX:
                place = (segment.start + t - 1 - segment.position, label)
                learned[place] = learned.get(place, 0.0) + row.weight
    return dict(sorted(learned.items()))


def _branches(segments: Sequence[Segment]) -> tuple[Branch, ...]:
    """The segments that others continue, with the end of all that continue them."""
    last: dict[int, int] = {}
    for each in segments:
        parent = each.parent
        while parent is not None:
            last[parent] = each.start + each.length
            parent = segments[parent].parent
    return tuple(
        Branch(segments[i].start, segments[i].start + segments[i].length, last[i])
        for i in sorted(last)
    )


def _weights(rows: Sequence[EncodedRow], device: torch.device | str) -> Tensor | None:
    """The weight of each supervised position; `None` where no row has one."""
    if all(row.weight == 1 for row in rows):
        return None
    weights = [row.weight for row in rows for _ in range(row.n_supervised)]
    return copied_to(torch.tensor(weights, dtype=torch.float32), device)


def collate_continuation(
    ids: Sequence[int], start: int, device: torch.device | str = "cpu"
) -> PackedBatch:
    """Ids that follow `start` already computed tokens, as one segment; nothing is supervised."""
    ids_T = copied_to(torch.tensor(ids, dtype=torch.int64), device)
    positions_T = torch.arange(start, start + len(ids), device=device)
    nothing = torch.empty(0, dtype=torch.int64, device=device)
    return PackedBatch(ids_T, positions_T, (0, len(ids)), nothing, nothing, (0,))


def collate_next_tokens(
    ids: Sequence[int], positions: Sequence[int], device: torch.device | str = "cpu"
) -> PackedBatch:
    """One token of each of several texts, each a segment of its own; nothing is supervised."""
    ids_T = copied_to(torch.tensor(ids, dtype=torch.int64), device)
    positions_T = copied_to(torch.tensor(positions, dtype=torch.int64), device)
    nothing = torch.empty(0, dtype=torch.int64, device=device)
    offsets = tuple(range(len(ids) + 1))
    return PackedBatch(ids_T, positions_T, offsets, nothing, nothing, (0,) * len(ids))
