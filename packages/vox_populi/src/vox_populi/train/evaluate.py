"""Held-out loss: the mean over supervised tokens, independent of how rows are packed.

Weights of rows do not count here: they say what to learn from, not how to measure it, and losses
stay comparable whatever the weights are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from vox_populi.train.batches import RowSource
from vox_populi.train.objective import Objective
from vox_tensor.records import EncodedRow

ROWS_AT_A_TIME = 64
"""Encoded rows in memory at a time; also limits how far packing looks for a fit."""


@torch.no_grad()
def mean_loss(objective: Objective, rows: RowSource, window_tokens: int) -> float:
    """Loss per supervised token over all rows, with dropout off.

    Raises:
        ValueError: When no row has a supervised token.
    """
    total, count = 0.0, 0.0
    objective.set_training(active=False)
    for group in _groups(rows):
        for loss_sum in objective.loss_sums(group, window_tokens):
            total += loss_sum.item()
        count += objective.normaliser(group)
    objective.set_training(active=True)
    if count == 0:
        message = "no supervised token in the evaluation rows"
        raise ValueError(message)
    return total / count


def _groups(rows: RowSource) -> Iterator[list[EncodedRow]]:
    for start in range(0, len(rows), ROWS_AT_A_TIME):
        end = min(start + ROWS_AT_A_TIME, len(rows))
        yield [replace(rows[i], weight=1.0) for i in range(start, end)]
