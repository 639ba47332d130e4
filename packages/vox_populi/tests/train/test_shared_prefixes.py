"""Training on rows that begin alike: the same as row by row, with fewer tokens computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from packages.vox_populi.tests.train.test_row_weights import (
    CONFIG,
    F32,
    SUMMED_OTHERWISE,
    VOCAB,
    apart,
    objective,
)
from vox_populi.contract.setting_groups import OptimizationSettings
from vox_populi.events import Event, EventName
from vox_populi.train.batches import pack_batches
from vox_populi.train.engine import Engine, Rows
from vox_populi.train.engine_state import CheckpointPolicy, EngineState
from vox_populi.train.optimizers.registry import build_optimizer
from vox_populi.train.outcome import EngineSettings, TrainOutcome
from vox_tensor.records import IGNORE_INDEX, EncodedRow
from vox_tensor.schedule import LearningRateSchedule, ScheduleKind

PROMPT, ANSWER, N_ROWS = 40, 5, 6
LONGEST = PROMPT + ANSWER
assert CONFIG.max_positions >= LONGEST


def drawn(count: int, seed: int) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(0, VOCAB, (count,), generator=generator).tolist())


def row(prompt: tuple[int, ...], answer: tuple[int, ...], line: int) -> EncodedRow:
    ids = (*prompt, *answer)
    # The end of the prompt is learned too, in every row.
    n_masked = len(prompt) - 4
    return EncodedRow(ids, (IGNORE_INDEX,) * n_masked + ids[n_masked:], line, 1.0 + line % 3)


ROWS = [row(drawn(PROMPT, 0), (i, *drawn(ANSWER - 1, i)), i) for i in range(1, N_ROWS + 1)]
APART = [row((i, *drawn(PROMPT - 1, i)), drawn(ANSWER, 9), i) for i in range(1, N_ROWS + 1)]


class _Steps:
    """Remembers what steps report."""

    def __init__(self) -> None:
        self.payloads: list[dict[str, object]] = []

    def emit(self, event: Event) -> None:
        if event.name is EventName.STEP:
            self.payloads.append(dict(event.payload))


def train(
    rows: Sequence[EncodedRow],
    *,
    share: bool,
    window: int = LONGEST * N_ROWS,
    state: EngineState | None = None,
    states: list[EngineState] | None = None,
    sink: _Steps | None = None,
) -> TrainOutcome:
    learner = objective()
    learner.share_prefixes = share
    optimizer = build_optimizer(OptimizationSettings(weight_decay=0.0), learner.parameters())
    schedule = LearningRateSchedule(
        kind=ScheduleKind.CONSTANT, peak=0.02, warmup_steps=0, total_steps=3
    )
    settings = EngineSettings(
        rows_per_step=len(rows),
        window_tokens=window,
        steps_per_epoch=1,
        total_steps=3,
        schedule=schedule,
        seed=1,
    )
    policy = None if states is None else CheckpointPolicy(states.append, 1)
    held_out = [replace(each, weight=1.0) for each in rows]
    engine = Engine(
        learner, optimizer, Rows(rows, held_out), settings, sink or _Steps(), checkpoints=policy
    )
    if state is not None:
        engine.restore(state)
    return engine.run()


@pytest.mark.parametrize("window", [LONGEST * N_ROWS, LONGEST + 2 * ANSWER, LONGEST])
def test_a_run_learns_what_it_learns_row_by_row(window: int) -> None:
    shared = train(ROWS, share=True, window=window)
    alone = train(ROWS, share=False, window=window)
    assert apart(shared.adapter, alone.adapter) < SUMMED_OTHERWISE
    assert apart(shared.adapter, train(APART, share=True).adapter) > 10 * SUMMED_OTHERWISE
    assert shared.train_loss == pytest.approx(alone.train_loss, rel=F32 * 10)
    for ours, theirs in zip(shared.evaluations, alone.evaluations, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=F32 * 10)
    assert (shared.tokens, shared.supervised_tokens) == (alone.tokens, alone.supervised_tokens)
    per_step = {LONGEST * N_ROWS: 5 * PROMPT, LONGEST + 2 * ANSWER: 4 * PROMPT, LONGEST: 0}
    assert (shared.saved_tokens, alone.saved_tokens) == (3 * per_step[window], 0)


def test_a_window_holds_more_rows_the_more_they_share() -> None:
    window = LONGEST + 2 * ANSWER
    shared, alone = (
        list(pack_batches(ROWS, window, share_prefixes=share)) for share in (True, False)
    )
    assert (len(shared), len(alone)) == (2, N_ROWS)
    assert all(batch.n_tokens <= window for batch in shared)


def test_rows_that_share_nothing_keep_every_bit() -> None:
    shared, alone = train(APART, share=True), train(APART, share=False)
    assert apart(shared.adapter, alone.adapter) == 0
    assert shared == replace(alone, adapter=shared.adapter, seconds=shared.seconds)


def test_a_run_is_resumed_to_the_last_bit_and_counts_on() -> None:
    states: list[EngineState] = []
    whole = train(ROWS, share=True, states=states)
    assert states[0].saved_tokens == 5 * PROMPT
    resumed = train(ROWS, share=True, state=states[0])
    assert apart(resumed.adapter, whole.adapter) == 0
    assert (resumed.train_loss, resumed.saved_tokens) == (whole.train_loss, whole.saved_tokens)


def test_a_step_says_what_it_saved() -> None:
    shared, alone = _Steps(), _Steps()
    train(ROWS, share=True, sink=shared)
    train(ROWS, share=False, sink=alone)
    assert [each["saved_tokens"] for each in shared.payloads] == [5 * PROMPT] * 3
    assert all("saved_tokens" not in each for each in alone.payloads)
    assert [each["theoretical_tokens"] for each in shared.payloads] == [N_ROWS * LONGEST] * 3
