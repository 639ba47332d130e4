"""The training loop on a real tiny model: what accumulation, seeds and stops must not change."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from vox_populi.contract.setting_groups import EvaluationSettings, OptimizationSettings
from vox_populi.errors import RunFailedError
from vox_populi.events import Event, EventName
from vox_populi.hf.keymap import adapter_modules
from vox_populi.hf.model_config import parse_model_config
from vox_populi.kernel.adapted_objective import AdaptedObjective
from vox_populi.model.lora_transformer import attach_adapters
from vox_populi.model.transformer import Transformer
from vox_populi.train.engine import Engine, Rows
from vox_populi.train.objective import Objective
from vox_populi.train.optimizers.optimizer import Optimizer
from vox_populi.train.optimizers.registry import build_optimizer
from vox_populi.train.outcome import EngineSettings, TrainOutcome
from vox_populi.train.seeds import Stream, stream_generator
from vox_tensor.collate import PackedBatch
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.records import IGNORE_INDEX, EncodedRow
from vox_tensor.schedule import LearningRateSchedule, ScheduleKind

VOCAB = 48
# Eight steps of AdamW on f32 gradients summed in another order.
OTHER_ORDER = 2e-4

CONFIG = parse_model_config(
    {
        "model_type": "llama",
        "vocab_size": VOCAB,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
    },
    "test",
)


class Recorder:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def payloads(self, name: EventName) -> list[Mapping[str, object]]:
        return [e.payload for e in self.events if e.name is name]


def draw_rows(count: int, seed: int) -> list[EncodedRow]:
    """Ragged rows with something to learn: the learned part is drawn from four ids only."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for line in range(1, count + 1):
        half = int(torch.randint(2, 12, (1,), generator=generator))
        prompt = torch.randint(0, VOCAB, (half,), generator=generator).tolist()
        ids = (*prompt, *torch.randint(0, 4, (half,), generator=generator).tolist())
        rows.append(EncodedRow(ids, (IGNORE_INDEX,) * half + ids[half:], line))
    return rows


TRAIN, VALID = draw_rows(20, 1), draw_rows(6, 2)

SETTINGS = EngineSettings(
    rows_per_step=8,
    window_tokens=8 * 24,
    steps_per_epoch=3,
    total_steps=9,
    schedule=LearningRateSchedule(
        kind=ScheduleKind.CONSTANT, peak=0.02, warmup_steps=2, total_steps=9
    ),
    seed=3,
)


def objective(seed: int = 3, dropout: float = 0.0) -> AdaptedObjective[Transformer]:
    torch.manual_seed(0)
    model = Transformer(CONFIG)
    for parameter in model.parameters():
        if parameter.dim() == 2:
            nn.init.normal_(parameter, std=0.25)
    modules = [m for m in adapter_modules(CONFIG) if m.ours != "lm_head"]
    adapted = attach_adapters(
        model,
        modules,
        LoraSpec(rank=4, alpha=8.0, dropout=dropout),
        stream_generator(seed, Stream.INIT),
        stream_generator(seed, Stream.DROPOUT),
    )
    return AdaptedObjective(model, adapted)


def adamw(learner: Objective) -> Optimizer:
    return build_optimizer(OptimizationSettings(), learner.parameters())


def run(
    settings: EngineSettings = SETTINGS,
    valid: Sequence[EncodedRow] = VALID,
    *,
    dropout: float = 0.0,
    sink: Recorder | None = None,
) -> TrainOutcome:
    learner = objective(settings.seed, dropout)
    rows = Rows(TRAIN, valid)
    return Engine(learner, adamw(learner), rows, settings, sink or Recorder()).run()


def largest_difference(a: TrainOutcome, b: TrainOutcome) -> float:
    assert a.adapter.keys() == b.adapter.keys()
    return max(float((a.adapter[k] - b.adapter[k]).abs().max()) for k in a.adapter)


def equal(a: TrainOutcome, b: TrainOutcome) -> bool:
    return all(torch.equal(a.adapter[k], b.adapter[k]) for k in a.adapter)


def test_training_lowers_the_held_out_loss_and_counts_what_it_saw() -> None:
    sink = Recorder()
    outcome = run(sink=sink)
    assert outcome.valid_loss_before is not None
    assert outcome.valid_loss_after is not None
    assert outcome.valid_loss_after < outcome.valid_loss_before
    assert (outcome.steps, outcome.epochs_completed) == (9, 3)
    assert outcome.tokens == 3 * sum(len(row) for row in TRAIN)
    assert outcome.supervised_tokens == 3 * sum(row.n_supervised for row in TRAIN)
    assert len(sink.payloads(EventName.STEP)) == 9
    assert [e.step for e in outcome.evaluations] == [0, 3, 6, 9]
    assert math.isfinite(outcome.train_loss)


def test_eight_at_once_equal_one_at_a_time() -> None:
    together = run()
    alone = run(replace(SETTINGS, window_tokens=24))
    assert not equal(together, run(replace(SETTINGS, seed=4)))
    assert largest_difference(together, alone) < OTHER_ORDER


def test_the_same_seed_gives_the_same_bytes_with_dropout_and_another_seed_others() -> None:
    first, second = run(dropout=0.2), run(dropout=0.2)
    assert equal(first, second)
    assert first.evaluations == second.evaluations
    assert not equal(first, run(replace(SETTINGS, seed=0), dropout=0.2))
    assert not equal(first, run(dropout=0.0))


def test_evaluating_more_often_changes_nothing_that_is_trained() -> None:
    often = run(replace(SETTINGS, evaluation=EvaluationSettings(eval_every=1)), dropout=0.2)
    never = run(valid=(), dropout=0.2)
    assert len(often.evaluations) == 10
    assert never.evaluations == ()
    assert equal(often, never)


def test_learning_rates_follow_the_schedule() -> None:
    sink = Recorder()
    run(sink=sink)
    rates = [p["lr"] for p in sink.payloads(EventName.STEP)]
    assert rates == [SETTINGS.schedule.at(step) for step in range(9)]
    assert rates[0] != rates[-1]


class Written(AdaptedObjective[Transformer]):
    """Held-out losses as written down: what is trained cannot decide when a run stops."""

    def __init__(self, *losses: float) -> None:
        sound = objective()
        super().__init__(sound.model, sound.adapted)
        self.left, self.evaluated = list(losses), list[dict[str, Tensor]]()

    def set_training(self, *, active: bool) -> None:
        super().set_training(active=active)
        if not active:
            self.loss = self.left.pop(0)
            self.evaluated.append(self.snapshot())

    def loss_sum(self, batch: PackedBatch) -> Tensor:
        if self.model.training:
            return super().loss_sum(batch)
        return torch.tensor(self.loss * batch.n_supervised)


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ((5.0, 4.0, 6.0, 3.0, 4.0, 4.0), 3),
        ((5.0, 4.0, 4.0, 4.0), 1),
        ((5.0, 6.0, 6.0), 0),
    ],
    ids=["worse in between", "as good is not better", "never better"],
)
def test_early_stopping_returns_the_best_adapter(losses: tuple[float, ...], best: int) -> None:
    written = Written(*losses)
    patient = replace(
        SETTINGS, evaluation=EvaluationSettings(eval_every=1, early_stopping_patience=2)
    )
    outcome = Engine(written, adamw(written), Rows(TRAIN, VALID), patient, Recorder()).run()
    assert outcome.stopped_early
    assert outcome.steps == len(losses) - 1 < patient.total_steps
    assert [e.loss for e in outcome.evaluations] == list(losses)
    assert (outcome.best_step, outcome.valid_loss_after) == (best, losses[best])
    kept = [
        all(torch.equal(outcome.adapter[name], tensor) for name, tensor in adapter.items())
        for adapter in written.evaluated
    ]
    assert kept == [step == best for step in range(len(losses))]


def test_a_stop_request_ends_at_a_step_border() -> None:
    answers = iter([False, False, True])
    learner, rows = objective(), Rows(TRAIN, VALID)
    stop = partial(next, answers)
    outcome = Engine(learner, adamw(learner), rows, SETTINGS, Recorder(), stop).run()
    assert outcome.interrupted
    assert outcome.steps == 2


class Poisoned(AdaptedObjective[Transformer]):
    """Gives an infinite loss for every batch that holds the row of line 7."""

    def loss_sum(self, batch: PackedBatch) -> Tensor:
        loss = super().loss_sum(batch)
        return loss * math.inf if 7 in batch.rows else loss


def test_a_loss_that_is_not_finite_stops_before_the_update_and_names_the_row() -> None:
    sound = objective()
    poisoned = Poisoned(sound.model, sound.adapted)
    steps: list[int] = []

    class Watch(Recorder):
        def emit(self, event: Event) -> None:
            if event.name is EventName.STEP:
                steps.append(1)
                watched.update(poisoned.snapshot())

    watched = dict(poisoned.snapshot())
    with pytest.raises(RunFailedError, match=r"MENS-R001.*line 7\b"):
        Engine(poisoned, adamw(poisoned), Rows(TRAIN, ()), SETTINGS, Watch()).run()
    assert all(torch.equal(watched[k], t) for k, t in poisoned.snapshot().items())
    assert len(steps) < SETTINGS.steps_per_epoch


def test_no_value_is_asked_for_between_the_passes_of_a_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []

    class Steps(Recorder):
        def emit(self, event: Event) -> None:
            calls.append("." if event.name is EventName.STEP else "")

    for letter, name in (("b", "backward"), ("v", "item"), ("v", "tolist")):
        original = getattr(torch.Tensor, name)

        def noted(tensor: Tensor, letter: str = letter, original: object = original) -> object:
            calls.append(letter)
            assert callable(original)
            return original(tensor)

        monkeypatch.setattr(torch.Tensor, name, noted)
    run(replace(SETTINGS, window_tokens=24, total_steps=3), (), sink=Steps())
    # A GPU would have nothing to do from the answer to the next pass.
    *steps, _ = "".join(calls).split(".")
    assert len(steps) == 3
    assert all(re.fullmatch(r"v*b{2,}v+", each) for each in steps), steps


def test_a_base_without_a_held_out_loss_is_not_blamed_on_the_learning_rate() -> None:
    sound = objective()
    poisoned = Poisoned(sound.model, sound.adapted)
    with pytest.raises(RunFailedError, match=r"MENS-R003.*after step 0\b") as caught:
        Engine(poisoned, adamw(poisoned), Rows(TRAIN, TRAIN), SETTINGS, Recorder()).run()
    (problem,) = caught.value.problems
    assert "--lr" not in problem.fix


def test_gradients_are_clipped_to_the_joint_norm() -> None:
    loose = run(replace(SETTINGS, optimization=OptimizationSettings(max_grad_norm=0.0)))
    tight = run(replace(SETTINGS, optimization=OptimizationSettings(max_grad_norm=1e-3)))
    assert not equal(loose, tight)
