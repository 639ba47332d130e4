"""Held-out rows are taken by tokens: however many there are, windows are full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from vox_populi.train.evaluate import WINDOWS_AT_A_TIME, mean_loss
from vox_tensor.packing import pack_rows
from vox_tensor.records import EncodedRow

WINDOW = 100


class Watched:
    """An objective whose loss is the sum of the ids, and which keeps what it was given."""

    share_prefixes = False

    def __init__(self) -> None:
        self.passes: list[list[EncodedRow]] = []
        self.windows: list[int] = []

    def set_training(self, *, active: bool) -> None:
        del active

    def normaliser(self, rows: Sequence[EncodedRow]) -> float:
        return sum(row.weight * len(row) for row in rows)

    def loss_sums(self, rows: Sequence[EncodedRow], window_tokens: int) -> Iterator[Tensor]:
        self.passes.append(list(rows))
        for window in pack_rows([len(row) for row in rows], window_tokens):
            self.windows.append(window.n_tokens)
            yield torch.tensor(float(sum(sum(rows[s.row].ids) for s in window.segments)))


def rows_of(*lengths: int) -> list[EncodedRow]:
    return [
        EncodedRow((number,) * length, (number,) * length, number, weight=2.0)
        for number, length in enumerate(lengths, 1)
    ]


@pytest.mark.parametrize("length", [1, 7, 60, 100])
def test_rows_of_any_length_fill_the_windows(length: int) -> None:
    rows = rows_of(*(length for _ in range(20 * WINDOW // length)))
    objective: Any = Watched()
    found = mean_loss(objective, rows, WINDOW)
    assert sorted(row.line for each in objective.passes for row in each) == [r.line for r in rows]
    at_a_time = WINDOWS_AT_A_TIME * WINDOW // length
    n_groups = -(-len(rows) // at_a_time)
    fullest = WINDOW // length * length
    assert sum(tokens < fullest for tokens in objective.windows) <= n_groups
    total = sum(row.ids[0] * len(row) for row in rows)
    assert found == total / sum(map(len, rows)), "weights of rows do not count"
