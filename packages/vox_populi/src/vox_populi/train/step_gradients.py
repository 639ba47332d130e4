"""The gradient of an optimizer step: its forward passes, shared by the processes of the run.

Each process computes a contiguous part of the passes. What they computed is added in the order of
`addition_tree`, in one exchange, so that every process ends with the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

import torch
from torch import Tensor

from vox_populi.errors import RunFailedError
from vox_populi.operator_messages import run as say_run
from vox_populi.train.addition_tree import middle, nothing_to_add, share_of, sum_in_order
from vox_populi.train.gradients import forget_gradients
from vox_populi.train.objective import Objective
from vox_populi.train.outcome import EngineSettings
from vox_populi.train.ranks import Ranks
from vox_populi.train.step_windows import step_windows
from vox_tensor.host_copy import copied_to
from vox_tensor.records import EncodedRow


class StepGradients:
    """Computes the gradients of steps.

    Args:
        objective: The model, its loss and what it trains.
        settings: Size and number of the passes.
        ranks: The processes that share them.
    """

    def __init__(self, objective: Objective, settings: EngineSettings, ranks: Ranks) -> None:
        self._objective, self._settings, self._ranks = objective, settings, ranks
        self._parameters = tuple(objective.parameters().values())
        self._weight = 1.0
        self.saved_tokens = 0
        """Tokens of the last step that were computed with another row's."""

    def compute(self, rows: Sequence[EncodedRow], step: int, weight: float) -> float:
        """Leave the gradients of a step on the parameters; return the step's mean loss.

        Args:
            rows: All rows of the step.
            step: Its number, from 0.
            weight: What the sum of the losses is divided by.

        Raises:
            RunFailedError: When a loss is not finite, with the rows that caused it.
        """
        s, ranks = self._settings, self._ranks
        self._weight = weight
        windows = step_windows(
            rows,
            s.window_tokens,
            s.micro_batches,
            share_prefixes=self._objective.share_prefixes,
        )
        saved = (self._objective.saved_tokens(window, s.window_tokens) for window in windows)
        self.saved_tokens = sum(saved)
        own = share_of(len(windows), ranks.rank, ranks.size)
        passes: list[list[Tensor]] = []
        forget_gradients(self._parameters)
        if own:
            self._add_up(windows, own, step, passes)
        losses = [0.0] * len(windows)
        losses[own.start : own.stop] = _values(passes)
        if ranks.in_step:
            self._keep_in_step(windows, len(own))
        if ranks.size > 1:
            losses = self._exchange(losses)
        if not all(map(math.isfinite, losses)):
            self._fail_on_loss(rows, step)
        return sum_in_order(losses) / weight

    def _add_up(
        self,
        windows: Sequence[Sequence[EncodedRow]],
        own: range,
        step: int,
        losses: list[list[Tensor]],
    ) -> None:
        """Add the gradients of some passes to what the parameters have, pairwise.

        The losses of each pass are appended to `losses`, on the device.
        """
        if len(own) == 1:
            losses.append(self._run_pass(windows[own.start], step, own.start))
            return
        border = middle(own.start, own.stop)
        self._add_up(windows, range(own.start, border), step, losses)
        if own.stop - border == 1:
            # Backward adds to what is there: the same sum, without a copy.
            losses.append(self._run_pass(windows[border], step, border))
            return
        first = self._take()
        self._add_up(windows, range(border, own.stop), step, losses)
        second = self._take()
        torch._foreach_add_(first, second)
        self._put(first)

    def _run_pass(self, rows: Sequence[EncodedRow], step: int, number: int) -> list[Tensor]:
        """Forward and backward over one window; returns its losses, on the device."""
        self._objective.key_noise(step, number)
        losses: list[Tensor] = []
        for loss_sum in self._objective.loss_sums(rows, self._settings.window_tokens):
            # What is not finite is found after the last pass; no gradient of the step is used then.
            (loss_sum / self._weight).backward()
            losses.append(loss_sum.detach())
        return losses

    def _keep_in_step(self, windows: Sequence[Sequence[EncodedRow]], done: int) -> None:
        """Compute something as often as the busiest process does, and forget it.

        A pass over a base that is divided takes all processes.
        """
        ranks = self._ranks
        most = max(len(share_of(len(windows), rank, ranks.size)) for rank in range(ranks.size))
        if done == most:
            return
        kept = self._take() if done else None
        for _ in range(most - done):
            self._run_pass(windows[0], 0, 0)
            forget_gradients(self._parameters)
        if kept is not None:
            self._put(kept)

    def _exchange(self, losses: list[float]) -> list[float]:
        """Add gradients and losses over all processes."""
        like = self._parameters[0]
        known = copied_to(torch.tensor([*losses, *[0.0] * self._ranks.size]), like.device)
        parts = [
            (nothing_to_add(p) if p.grad is None else p.grad).reshape(-1) for p in self._parameters
        ]
        vector = torch.cat([*parts, known])
        # Each of these vectors is as large as the adapter.
        del parts
        forget_gradients(self._parameters)
        total = self._ranks.add(vector)
        start = 0
        for parameter in self._parameters:
            end = start + parameter.numel()
            parameter.grad = total[start:end].view_as(parameter)
            start = end
        return [float(each) for each in total[start : start + len(losses)].tolist()]

    def _take(self) -> list[Tensor]:
        grads = [p.grad for p in self._parameters if p.grad is not None]
        assert len(grads) == len(self._parameters), "every parameter is in every pass"
        forget_gradients(self._parameters)
        return grads

    def _put(self, grads: Sequence[Tensor]) -> None:
        for parameter, grad in zip(self._parameters, grads, strict=True):
            parameter.grad = grad

    def _fail_on_loss(self, rows: Sequence[EncodedRow], step: int) -> None:
        """Find the rows whose own loss is not finite and stop before the update."""
        self._objective.set_training(active=False)
        guilty = [row.line for row in rows if not self._is_finite(row)]
        lines = guilty or [row.line for row in rows]
        raise RunFailedError(say_run.loss_not_finite(step, lines))

    @torch.no_grad()
    def _is_finite(self, row: EncodedRow) -> bool:
        losses = self._objective.loss_sums([row], self._settings.window_tokens)
        return all(math.isfinite(loss.item()) for loss in losses)


def _values(passes: Sequence[Sequence[Tensor]]) -> list[float]:
    """The sum of the losses of each pass.

    All are asked for at once, after the last pass: a GPU would have nothing to do from each answer
    to its next work.
    """
    parts = [part for losses in passes for part in losses]
    values: list[float] = torch.stack(parts).cpu().tolist() if parts else []
    known = iter(values)
    return [sum_in_order(islice(known, len(losses))) for losses in passes]
