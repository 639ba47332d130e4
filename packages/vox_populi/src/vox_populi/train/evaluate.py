"""Held-out loss: the mean over supervised tokens, independent of how rows are packed.

Weights of rows do not count here: they say what to learn from, not how to measure it, and losses
stay comparable whatever the weights are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from vox_populi.train.addition_tree import sum_in_order
from vox_populi.train.batches import RowSource
from vox_populi.train.objective import Objective
from vox_populi.train.ranks import ALONE, Ranks
from vox_populi.train.shared_passes import SharedPasses
from vox_tensor.records import EncodedRow

WINDOWS_AT_A_TIME = 8
"""Encoded rows in memory at a time, by the windows that they fill; also limits how far packing
looks for a fit."""


@torch.no_grad()
def mean_loss(
    objective: Objective, rows: RowSource, window_tokens: int, ranks: Ranks = ALONE
) -> float:
    """Loss per supervised token over all rows, with dropout off.

    Several processes share the forward passes; the sum is the same as in one.

    Args:
        objective: The model and its loss.
        rows: Held-out rows.
        window_tokens: Most tokens of a forward pass.
        ranks: The processes that share the passes.

    Raises:
        ValueError: When no row has a supervised token.
    """
    count, passes = 0.0, SharedPasses(objective, window_tokens, ranks)
    objective.set_training(active=False)
    for group in _groups(rows, WINDOWS_AT_A_TIME * window_tokens):
        passes.compute(group)
        count += objective.normaliser(group)
    total = sum_in_order(passes.losses())
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
