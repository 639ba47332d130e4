"""Held-out losses that a test states, so that no rounding decides which step is the best."""

from __future__ import annotations

import hashlib

from vox_populi.train.batches import RowSource
from vox_populi.train.objective import Objective
from vox_populi.train.ranks import Ranks


class WrittenCurve:
    """Stands for the held-out loss: the first run's evaluations get these values in turn.

    A later run gets the value of the adapter that it evaluates, which the first must have had.
    What is trained decides nothing, so no rounding can move the best step.
    """

    def __init__(self, *losses: float) -> None:
        self.left = list(losses)
        self.given: dict[str, float] = {}

    def __call__(
        self, objective: Objective, rows: RowSource, window_tokens: int, ranks: Ranks
    ) -> float:
        digest = hashlib.sha256()
        for tensor in objective.snapshot().values():
            digest.update(tensor.numpy().tobytes())
        if digest.hexdigest() not in self.given:
            self.given[digest.hexdigest()] = self.left.pop(0)
        return self.given[digest.hexdigest()]
