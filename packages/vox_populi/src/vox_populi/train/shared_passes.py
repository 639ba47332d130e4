"""Forward passes without gradients, dealt out to the processes of a run."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.train.addition_tree import sum_in_order
from vox_populi.train.objective import Objective
from vox_populi.train.ranks import Ranks
from vox_populi.train.step_windows import step_windows
from vox_tensor.records import EncodedRow


class SharedPasses:
    """The losses of many forward passes, every `size`-th of them computed by this process.

    Args:
        objective: The model and its loss, with dropout off.
        window_tokens: Most tokens of a forward pass.
        ranks: The processes that share the passes.
    """

    def __init__(self, objective: Objective, window_tokens: int, ranks: Ranks) -> None:
        self._objective, self._window_tokens, self._ranks = objective, window_tokens, ranks
        self._own: list[float] = []
        self._count = 0
        self._spare: Sequence[EncodedRow] = ()

    def compute(self, rows: Sequence[EncodedRow]) -> None:
        """Compute this process's part of the passes over some rows."""
        is_shared = self._objective.share_prefixes
        for window in step_windows(rows, self._window_tokens, share_prefixes=is_shared):
            turn = self._count % self._ranks.size
            self._count += 1
            self._spare = window
            if turn == self._ranks.rank:
                self._own.append(self._loss(window))

    def losses(self) -> list[float]:
        """The loss sums of all passes of all processes, in the order of the passes."""
        ranks = self._ranks
        if self._count == 0:
            return []
        each = -(-self._count // ranks.size)
        if len(self._own) < each:
            self._own.append(self._loss(self._spare) if ranks.in_step else 0.0)
        dealt = ranks.collect(self._own)
        return [dealt[number % ranks.size][number // ranks.size] for number in range(self._count)]

    def _loss(self, window: Sequence[EncodedRow]) -> float:
        losses = self._objective.loss_sums(window, self._window_tokens)
        return sum_in_order(loss.item() for loss in losses)
