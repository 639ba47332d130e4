"""A run that stops at any step and resumes must equal the run that never stopped, bit for bit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vox_populi.contract import optimizer_choice
from vox_populi.contract.optimizer_choice import OptimizerKind
from vox_populi.contract.setting_groups import EvaluationSettings, OptimizationSettings
from vox_populi.errors import RunFailedError
from vox_populi.events import Event, EventName
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
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.records import IGNORE_INDEX, EncodedRow
from vox_tensor.schedule import LearningRateSchedule, ScheduleKind

CONFIG = parse_model_config(
    {
        "model_type": "llama",
        "vocab_size": 48,
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
# Ten steps: two epochs of four and half of a third, two windows in each step.
SETTINGS = EngineSettings(
    rows_per_step=4,
    window_tokens=24,
    steps_per_epoch=4,
    total_steps=10,
    schedule=LearningRateSchedule(
        kind=ScheduleKind.COSINE, peak=0.05, warmup_steps=2, total_steps=10
    ),
    seed=3,
)


class Recorder:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def told(self) -> list[tuple[EventName, object, object]]:
        """What is said of the run, without what depends on the clock."""
        return [
            (e.name, e.payload.get("step"), e.payload.get("loss", e.payload.get("val_loss")))
            for e in self.events
        ]


def draw_rows(count: int, seed: int) -> list[EncodedRow]:
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for line in range(1, count + 1):
        half = int(torch.randint(2, 9, (1,), generator=generator))
        ids = tuple(torch.randint(0, 48, (2 * half,), generator=generator).tolist())
        rows.append(EncodedRow(ids, (IGNORE_INDEX,) * half + ids[half:], line))
    return rows


TRAIN, VALID = draw_rows(15, 1), draw_rows(4, 2)


def objective(dropout: float = 0.2) -> AdaptedObjective[Transformer]:
    torch.manual_seed(0)
    model = Transformer(CONFIG)
    for parameter in model.parameters():
        if parameter.dim() == 2:
            nn.init.normal_(parameter, std=0.25)
    modules = [m for m in adapter_modules(CONFIG) if m.ours != "lm_head"]
    streams = (stream_generator(3, Stream.INIT), stream_generator(3, Stream.DROPOUT))
    spec = LoraSpec(rank=2, alpha=4.0, dropout=dropout)
    return AdaptedObjective(model, attach_adapters(model, modules, spec, *streams))


def build(
    settings: EngineSettings = SETTINGS,
    sink: Recorder | None = None,
    policy: CheckpointPolicy | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    *,
    train: Sequence[EncodedRow] = TRAIN,
    kind: OptimizerKind = OptimizerKind.ADAMW,
) -> Engine:
    learner = objective()
    optimizer = build_optimizer(OptimizationSettings(optimizer=kind), learner.parameters())
    rows = Rows(train, VALID)
    sink = sink or Recorder()
    return Engine(learner, optimizer, rows, settings, sink, should_stop, checkpoints=policy)


def run(
    state: EngineState | None = None,
    settings: EngineSettings = SETTINGS,
    sink: Recorder | None = None,
    every: int | None = None,
    kind: OptimizerKind = OptimizerKind.ADAMW,
) -> tuple[TrainOutcome, list[EngineState]]:
    states: list[EngineState] = []
    policy = CheckpointPolicy(states.append, every)
    engine = build(settings, sink, policy, kind=kind)
    if state is not None:
        engine.restore(state)
    return engine.run(), states


def equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def facts(outcome: TrainOutcome) -> dict[str, Any]:
    """Everything but the tensors and what depends on the clock or the session."""
    others = {"adapter", "seconds", "peak_memory_bytes", "tokens_before"}
    return {name: getattr(outcome, name) for name in outcome.__slots__ if name not in others}


STOPPING = replace(SETTINGS, evaluation=EvaluationSettings(eval_every=1, early_stopping_patience=4))


@pytest.mark.parametrize(
    "settings", [SETTINGS, STOPPING, replace(SETTINGS, evaluation=EvaluationSettings(eval_every=3))]
)
def test_resuming_at_every_step_gives_the_undisturbed_run(settings: EngineSettings) -> None:
    undisturbed, told = run(settings=settings)[0], Recorder()
    watched, states = run(settings=settings, sink=told, every=1)
    assert equal(undisturbed.adapter, watched.adapter), "saving changes nothing"
    assert [state.step for state in states] == list(range(1, undisturbed.steps + 1))
    assert len({state.order_digest for state in states}) > 1, "epochs have orders of their own"
    for state in states:
        sink = Recorder()
        resumed, _ = run(state, settings, sink)
        assert equal(resumed.adapter, undisturbed.adapter), state.step
        assert facts(resumed) == facts(undisturbed), state.step
        expected = told.told()
        assert sink.told() == expected[len(expected) - len(sink.events) :]
        assert resumed.tokens_before == state.tokens


def test_without_the_state_of_the_dropout_stream_the_result_differs() -> None:
    undisturbed, states = run(every=3)
    fresh = stream_generator(3, Stream.DROPOUT).get_state()
    forgetful = replace(states[0], streams={"dropout": fresh})
    assert not equal(run(forgetful)[0].adapter, undisturbed.adapter)
    zeros = {name: torch.zeros_like(moment) for name, moment in states[0].optimizer.items()}
    assert not equal(run(replace(states[0], optimizer=zeros))[0].adapter, undisturbed.adapter)


def test_a_state_is_a_copy_that_training_does_not_change() -> None:
    states: list[EngineState] = []
    copies: list[dict[str, Tensor]] = []

    def keep(state: EngineState) -> None:
        states.append(state)
        copies.append({name: tensor.clone() for name, tensor in state.optimizer.items()})

    build(policy=CheckpointPolicy(keep, 1)).run()
    assert all(equal(s.optimizer, c) for s, c in zip(states, copies, strict=True))
    assert not equal(states[0].optimizer, states[1].optimizer)


def test_a_stop_request_saves_once_at_its_border() -> None:
    states: list[EngineState] = []
    answers = iter([False, False, True])
    policy = CheckpointPolicy(states.append, 2)
    engine = build(policy=policy, should_stop=lambda: next(answers))
    assert engine.run().interrupted
    assert [state.step for state in states] == [2], "not twice, though it was due as well"


def test_the_state_of_the_best_evaluation_is_saved_besides_the_regular_ones() -> None:
    settings = replace(SETTINGS, evaluation=EvaluationSettings(eval_every=1))
    outcome, saved = run(settings=settings)
    assert saved == []
    states: list[EngineState] = []
    build(settings, policy=CheckpointPolicy(states.append, keeps_best=True)).run()
    best = math.inf
    better = []
    for evaluation in outcome.evaluations[1:]:
        if evaluation.loss < best:
            best = evaluation.loss
            better.append(evaluation.step)
    assert [state.step for state in states] == better
    assert states[-1].best_step == better[-1]
    resumed, _ = run(states[0], settings)
    assert equal(resumed.adapter, outcome.adapter)


def test_what_a_failing_save_raises_ends_the_run() -> None:
    def fail(state: EngineState) -> None:
        raise OSError(28, "No space left on device")

    engine = build(policy=CheckpointPolicy(fail, 1))
    with pytest.raises(OSError, match="No space left"):
        engine.run()


def test_another_order_of_rows_is_refused_before_anything_changes() -> None:
    _, states = run(every=5)
    engine = build(train=TRAIN[:-1])
    before = engine.state().adapter
    with pytest.raises(RunFailedError, match="MENS-R020"):
        engine.restore(states[0])
    assert equal(engine.state().adapter, before)


def test_a_state_of_another_kernel_is_a_misuse() -> None:
    _, states = run(every=5)
    engine = build()
    with pytest.raises(ValueError, match="random streams"):
        engine.restore(replace(states[0], streams={}))


@pytest.mark.parametrize("kind", OptimizerKind)
def test_resuming_with_any_optimizer_gives_the_undisturbed_run(
    kind: OptimizerKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that some of these small tensors have quantised state, and others have not.
    monkeypatch.setattr(optimizer_choice, "LEAST_QUANTISED", 40)
    undisturbed, states = run(kind=kind, every=3)
    dtypes = {tensor.dtype for tensor in states[0].optimizer.values()}
    assert (torch.uint8 in dtypes) == (kind is OptimizerKind.ADAMW8BIT)
    assert torch.float32 in dtypes
    for state in states:
        assert equal(run(state, kind=kind)[0].adapter, undisturbed.adapter), state.step
    zeros = {name: torch.zeros_like(tensor) for name, tensor in states[0].optimizer.items()}
    forgetful = replace(states[0], optimizer=zeros)
    assert not equal(run(forgetful, kind=kind)[0].adapter, undisturbed.adapter)


def test_the_state_of_another_optimizer_is_a_misuse() -> None:
    _, states = run(kind=OptimizerKind.LION, every=5)
    with pytest.raises(ValueError, match="does not fit the parameters"):
        build().restore(states[0])
