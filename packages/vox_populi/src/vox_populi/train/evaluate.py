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

WINDOWS_AT_A_TIME = 8
"""Encoded rows in memory at a time, by the windows that they fill; also limits how far packing
looks for a fit."""


@torch.no_grad()
def mean_loss(objective: Objective, rows: RowSource, window_tokens: int) -> float:
    """Loss per supervised token over all rows, with dropout off.

    Raises:
        ValueError: When no row has a supervised token.
    """
    total, count = 0.0, 0.0
    objective.set_training(active=False)
    for group in _groups(rows, WINDOWS_AT_A_TIME * window_tokens):
        for loss_sum in objective.loss_sums(group, window_tokens):
            total += loss_sum.item()
        count += objective.normaliser(group)
    objective.set_training(active=True)
    if count == 0:
        message = "no supervised token in the evaluation rows"
        raise ValueError(message)
    return total / count


def _groups(rows: RowSource, most_tokens: int) -> Iterator[list[EncodedRow]]:
    """Rows in order, as many at a time as have so many tokens, and at least one."""
    group: list[EncodedRow] = []
    n_tokens = 0
    for index in range(len(rows)):
        row = replace(rows[index], weight=1.0)
        if group and n_tokens + len(row) > most_tokens:
            yield group
            group, n_tokens = [], 0
        group.append(row)
        n_tokens += len(row)
    if group:
        yield group
