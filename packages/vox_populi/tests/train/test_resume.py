"""A run that stops at any step and goes on must be the run that never stopped, to the last bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vox_populi.errors import RunFailedError
from vox_populi.events import Event, EventName
from vox_populi.hf.keymap import adapter_modules
from vox_populi.hf.model_config import parse_model_config
from vox_populi.kernel.adapted_objective import AdaptedObjective
from vox_populi.model.lora_transformer import attach_adapters
from vox_populi.model.transformer import Transformer
from vox_populi.train.engine import Engine
from vox_populi.train.engine_state import CheckpointPolicy, EngineState
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


def run(
    state: EngineState | None = None,
    settings: EngineSettings = SETTINGS,
    sink: Recorder | None = None,
    every: int | None = None,
) -> tuple[TrainOutcome, list[EngineState]]:
    states: list[EngineState] = []
    engine = Engine(
        objective(),
        TRAIN,
        VALID,
        settings,
        sink or Recorder(),
        checkpoints=CheckpointPolicy(states.append, every),
    )
    if state is not None:
        engine.restore(state)
    return engine.run(), states


def equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def facts(outcome: TrainOutcome) -> dict[str, Any]:
    """Everything but the tensors and what depends on the clock or the session."""
    others = {"adapter", "seconds", "peak_memory_bytes", "tokens_before"}
    return {name: getattr(outcome, name) for name in outcome.__slots__ if name not in others}


STOPPING = replace(SETTINGS, eval_every=1, early_stopping_patience=4)


@pytest.mark.parametrize("settings", [SETTINGS, STOPPING, replace(SETTINGS, eval_every=3)])
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
    zeros = {name: torch.zeros_like(moment) for name, moment in states[0].first_moments.items()}
    assert not equal(run(replace(states[0], first_moments=zeros))[0].adapter, undisturbed.adapter)


def test_a_state_is_a_copy_that_training_does_not_change() -> None:
    states: list[EngineState] = []
    copies: list[dict[str, Tensor]] = []

    def keep(state: EngineState) -> None:
        states.append(state)
        copies.append({name: tensor.clone() for name, tensor in state.second_moments.items()})

    Engine(
        objective(), TRAIN, VALID, SETTINGS, Recorder(), checkpoints=CheckpointPolicy(keep, 1)
    ).run()
    assert all(equal(s.second_moments, c) for s, c in zip(states, copies, strict=True))
    assert not equal(states[0].second_moments, states[1].second_moments)


def test_a_stop_request_saves_once_at_its_border() -> None:
    states: list[EngineState] = []
    answers = iter([False, False, True])
    engine = Engine(
        objective(),
        TRAIN,
        VALID,
        SETTINGS,
        Recorder(),
        lambda: next(answers),
        checkpoints=CheckpointPolicy(states.append, 2),
    )
    assert engine.run().interrupted
    assert [state.step for state in states] == [2], "not twice, though it was due as well"


def test_what_a_failing_save_raises_ends_the_run() -> None:
    def fail(state: EngineState) -> None:
        raise OSError(28, "No space left on device")

    engine = Engine(
        objective(), TRAIN, VALID, SETTINGS, Recorder(), checkpoints=CheckpointPolicy(fail, 1)
    )
    with pytest.raises(OSError, match="No space left"):
        engine.run()


def test_another_order_of_rows_is_refused_before_anything_changes() -> None:
    _, states = run(every=5)
    engine = Engine(objective(), TRAIN[:-1], VALID, SETTINGS, Recorder())
    before = engine.state().adapter
    with pytest.raises(RunFailedError, match="MENS-R020"):
        engine.restore(states[0])
    assert equal(engine.state().adapter, before)


def test_a_state_of_another_kernel_is_a_misuse() -> None:
    _, states = run(every=5)
    engine = Engine(objective(), TRAIN, VALID, SETTINGS, Recorder())
    with pytest.raises(ValueError, match="random streams"):
        engine.restore(replace(states[0], streams={}))
