"""Checking that the counters of a checkpoint are possible for a run. Nothing is read here.

A checkpoint's digests prove that it is what was written, not that a run wrote it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from vox_populi.files.json_fields import FieldError
from vox_populi.number_ranges import ROW_WEIGHT
from vox_populi.train.engine_state import EngineState

MAX_LOSS_PER_TOKEN = 1e6
"""Upper bound for a mean loss; a uniform guess over 2^20 tokens has 14."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunExtent:
    """Upper bounds for the counters of a run."""

    total_steps: int
    steps_per_epoch: int
    tokens_per_step: int
    """Largest number of tokens per step."""


def check_counters(state: EngineState) -> None:
    """Refuse counters that contradict each other.

    Raises:
        FieldError: With the first contradiction.
    """
    _raise_first(_contradictions(state))


def check_extent(state: EngineState, extent: RunExtent) -> None:
    """Refuse counters beyond the extent of the run.

    Raises:
        FieldError: With the first of them.
    """
    _raise_first(_excesses(state, extent))


def _raise_first(messages: Iterator[str]) -> None:
    message = next(messages, None)
    if message is not None:
        raise FieldError(message)


def _contradictions(c: EngineState) -> Iterator[str]:
    if c.optimizer_steps != c.step:
        yield f"optimizer_steps is {c.optimizer_steps} at step {c.step}"
    if not c.epoch_supervised <= c.supervised <= c.tokens:
        yield "more tokens are supervised than there are"
    if c.saved_tokens > c.tokens:
        yield "more tokens are saved than there are"
    if c.step > 0 and c.epoch_supervised == 0:
        yield f"nothing was learned from at step {c.step}"
    if not _is_sum_of_weights(c.epoch_weight, c.epoch_supervised):
        yield "epoch_weight is not a sum of weights"
    if not 0 <= c.epoch_loss <= MAX_LOSS_PER_TOKEN * c.epoch_weight:
        yield "epoch_loss is not a sum of losses"
    steps = [each.step for each in c.evaluations]
    if steps != sorted(set(steps)) or not all(0 <= step <= c.step for step in steps):
        yield f"evaluations are not of steps up to {c.step}, in their order"
    if not all(_is_loss(each.loss) for each in c.evaluations):
        yield "an evaluation has no loss"
    if c.best is not None and c.best not in c.evaluations:
        yield "best is none of the evaluations"


def _excesses(c: EngineState, extent: RunExtent) -> Iterator[str]:
    if c.step > extent.total_steps:
        yield f"step is {c.step}, the run has {extent.total_steps} steps"
    if c.index_in_epoch >= extent.steps_per_epoch:
        yield f"index_in_epoch is {c.index_in_epoch} of {extent.steps_per_epoch} steps"
    elif c.epoch * extent.steps_per_epoch + c.index_in_epoch != c.step:
        yield f"epoch {c.epoch} and index_in_epoch {c.index_in_epoch} are not step {c.step}"
    if c.tokens > c.step * extent.tokens_per_step:
        yield f"tokens is {c.tokens}, more than {c.step} steps can have"


def _is_sum_of_weights(total: float, count: int) -> bool:
    slack = 1e-6 * total  # A sum of floats may round past its bounds.
    return ROW_WEIGHT.lowest * count - slack <= total <= ROW_WEIGHT.highest * count + slack


def _is_loss(value: float) -> bool:
    return math.isfinite(value) and 0 <= value <= MAX_LOSS_PER_TOKEN
