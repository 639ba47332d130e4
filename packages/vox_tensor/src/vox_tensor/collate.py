"""Turning packed rows into the tensors of one forward pass, without padding.

Shape letters: T tokens of the window, S segments, P supervised positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vox_tensor.records import IGNORE_INDEX, EncodedRow


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Rows laid end to end; attention must stay inside a segment."""

    ids_T: Tensor
    """int64 token ids."""
    positions_T: Tensor
    """int64 positions, from 0 in each segment."""
    offsets: tuple[int, ...]
    """S + 1 borders: segment s holds tokens `offsets[s]` to `offsets[s + 1]`."""
    supervised_P: Tensor
    """int64 indices into T of tokens whose *next* token is learned, ascending."""
    targets_P: Tensor
    """int64 ids of those next tokens."""
    rows: tuple[int, ...]
    """Source line of each segment, for messages."""
    weights_P: Tensor | None = None
    """float32 weight of each supervised position; `None` where all of them are 1."""

    @property
    def n_tokens(self) -> int:
        """Number of tokens to compute."""
        return self.offsets[-1]

    @property
    def n_supervised(self) -> int:
        """Number of tokens that contribute to the loss."""
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
        torch.tensor(values, dtype=torch.int64).to(device, non_blocking=True)
        for values in (ids, positions, supervised, targets)
    )
    lines = tuple(row.line for row in rows)
    weights_P = _weights(rows, device)
    return PackedBatch(
        ids_T, positions_T, tuple(offsets), supervised_P, targets_P, lines, weights_P
    )


def _weights(rows: Sequence[EncodedRow], device: torch.device | str) -> Tensor | None:
    """The weight of each supervised position; `None` where no row has one."""
    if all(row.weight == 1 for row in rows):
        return None
    weights = [row.weight for row in rows for _ in range(row.n_supervised)]
    return torch.tensor(weights, dtype=torch.float32).to(device, non_blocking=True)


def collate_continuation(
    ids: Sequence[int], start: int, device: torch.device | str = "cpu"
) -> PackedBatch:
    """Ids that follow `start` already computed tokens, as one segment; nothing is supervised."""
    ids_T = torch.tensor(ids, dtype=torch.int64).to(device, non_blocking=True)
    positions_T = torch.arange(start, start + len(ids), device=device)
    nothing = torch.empty(0, dtype=torch.int64, device=device)
    return PackedBatch(ids_T, positions_T, (0, len(ids)), nothing, nothing, (0,))


def collate_next_tokens(
    ids: Sequence[int], positions: Sequence[int], device: torch.device | str = "cpu"
) -> PackedBatch:
    """One token of each of several texts, each a segment of its own; nothing is supervised."""
    ids_T = torch.tensor(ids, dtype=torch.int64).to(device, non_blocking=True)
    positions_T = torch.tensor(positions, dtype=torch.int64).to(device, non_blocking=True)
    nothing = torch.empty(0, dtype=torch.int64, device=device)
    offsets = tuple(range(len(ids) + 1))
    return PackedBatch(ids_T, positions_T, offsets, nothing, nothing, (0,) * len(ids))
