"""Weights of rows: what a step makes of them, whatever the packing, and what they leave alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vox_populi.contract.setting_groups import OptimizationSettings
from vox_populi.events import Event
from vox_populi.hf.keymap import adapter_modules
from vox_populi.hf.model_config import parse_model_config
from vox_populi.kernel.adapted_objective import AdaptedObjective
from vox_populi.model.lora_transformer import attach_adapters
from vox_populi.model.transformer import Transformer
from vox_populi.train.engine import Engine, Rows
from vox_populi.train.engine_state import CheckpointPolicy, EngineState
from vox_populi.train.optimizers.registry import build_optimizer
from vox_populi.train.outcome import EngineSettings, TrainOutcome
from vox_populi.train.seeds import Stream, stream_generator
from vox_tensor.collate import collate_window
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.records import IGNORE_INDEX, EncodedRow
from vox_tensor.schedule import LearningRateSchedule, ScheduleKind

VOCAB, MOST = 48, 24
SUMMED_OTHERWISE = 2e-4
"""Adapters after a few steps of AdamW on f32 gradients summed in another order."""
F32 = 1e-5
"""A mean loss in f32 beside float64, relative."""
CONFIG = parse_model_config(
    {
        "model_type": "llama",
        "vocab_size": VOCAB,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
    },
    "test",
)


def draw_rows(count: int) -> list[EncodedRow]:
    generator = torch.Generator().manual_seed(1)
    rows = []
    for line in range(1, count + 1):
        half = int(torch.randint(2, MOST // 2, (1,), generator=generator))
        ids = tuple(torch.randint(0, VOCAB, (2 * half,), generator=generator).tolist())
        rows.append(EncodedRow(ids, (IGNORE_INDEX,) * half + ids[half:], line))
    return rows


PLAIN = draw_rows(6)
TIMES = (3, 1, 2, 1, 1, 2)
WEIGHED = [replace(row, weight=float(n)) for row, n in zip(PLAIN, TIMES, strict=True)]
REPEATED = [row for row, n in zip(PLAIN, TIMES, strict=True) for _ in range(n)]


class _NoSink:
    def emit(self, event: Event) -> None:
        """Forget it."""


def objective() -> AdaptedObjective[Transformer]:
    torch.manual_seed(0)
    model = Transformer(CONFIG)
    for parameter in model.parameters():
        if parameter.dim() == 2:
            nn.init.normal_(parameter, std=0.25)
    init = stream_generator(3, Stream.INIT)
    adapted = attach_adapters(model, adapter_modules(CONFIG), LoraSpec(rank=2, alpha=4.0), init)
    return AdaptedObjective(model, adapted)


def train(
    rows: Sequence[EncodedRow],
    *,
    window: int = 8 * MOST,
    steps: int = 3,
    valid: Sequence[EncodedRow] = (),
    state: EngineState | None = None,
    states: list[EngineState] | None = None,
) -> TrainOutcome:
    """Each step learns from all the rows."""
    learner = objective()
    optimizer = build_optimizer(OptimizationSettings(weight_decay=0.0), learner.parameters())
    schedule = LearningRateSchedule(
        kind=ScheduleKind.CONSTANT, peak=0.02, warmup_steps=0, total_steps=steps
    )
    settings = EngineSettings(
        rows_per_step=len(rows),
        window_tokens=window,
        steps_per_epoch=1,
        total_steps=steps,
        schedule=schedule,
        seed=1,
    )
    policy = None if states is None else CheckpointPolicy(states.append, 1)
    engine = Engine(learner, optimizer, Rows(rows, valid), settings, _NoSink(), checkpoints=policy)
    if state is not None:
        engine.restore(state)
    return engine.run()


def apart(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def losses_in_float64(rows: Sequence[EncodedRow]) -> list[np.ndarray]:
    """The cross entropy of each supervised token by the logits of the fresh model."""
    model, found = objective().model, []
    for row in rows:
        with torch.no_grad():
            logits = model.logits(collate_window([row])).double().numpy()[:-1]
        logits = logits - logits.max(axis=1, keepdims=True)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        labels = np.array(row.labels[1:])
        learned = labels != IGNORE_INDEX
        found.append(-log_p[np.flatnonzero(learned), labels[learned]])
    return found


def test_the_loss_of_a_step_is_the_weighted_mean_over_its_supervised_tokens() -> None:
    losses = losses_in_float64(WEIGHED)
    total = sum(row.weight * each.sum() for row, each in zip(WEIGHED, losses, strict=True))
    weight = sum(row.weight * len(each) for row, each in zip(WEIGHED, losses, strict=True))
    first = train(WEIGHED, steps=1).train_loss
    assert first == pytest.approx(total / weight, rel=F32)
    assert first != pytest.approx(train(PLAIN, steps=1).train_loss, rel=F32)


def test_a_weight_of_two_is_a_row_that_is_there_twice() -> None:
    weighed, repeated = train(WEIGHED), train(REPEATED)
    assert apart(weighed.adapter, repeated.adapter) < SUMMED_OTHERWISE
    assert apart(weighed.adapter, train(PLAIN).adapter) > 10 * SUMMED_OTHERWISE
    assert weighed.train_loss == pytest.approx(repeated.train_loss, rel=F32 * 10)


def test_packing_does_not_change_what_weights_do() -> None:
    together, alone = train(WEIGHED), train(WEIGHED, window=MOST)
    assert apart(together.adapter, alone.adapter) < SUMMED_OTHERWISE


def test_only_the_relation_of_weights_counts_in_a_step() -> None:
    halved = [replace(row, weight=row.weight / 2) for row in WEIGHED]
    assert apart(train(WEIGHED).adapter, train(halved).adapter) < SUMMED_OTHERWISE


def test_held_out_losses_know_no_weights() -> None:
    outcomes = [train(PLAIN, valid=valid, steps=1) for valid in (PLAIN, WEIGHED)]
    assert outcomes[0].evaluations == outcomes[1].evaluations
    expected = np.concatenate(losses_in_float64(PLAIN)).mean()
    assert outcomes[1].valid_loss_before == pytest.approx(expected, rel=F32)


def test_a_run_on_weighted_rows_is_resumed_to_the_last_bit() -> None:
    states: list[EngineState] = []
    whole = train(WEIGHED, states=states)
    assert states[0].epoch_weight == sum(row.weight * row.n_supervised for row in WEIGHED)
    assert states[0].epoch_weight != states[0].epoch_supervised
    resumed = train(WEIGHED, state=states[0])
    assert apart(resumed.adapter, whole.adapter) == 0
    assert resumed.train_loss == whole.train_loss
