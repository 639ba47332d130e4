"""The model's thread: what joins a batch decides nothing of the others, and limits hold."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from threading import Event, Thread
from typing import Any

import pytest
import torch

from vox_populi.errors import EnvironmentFailure
from vox_populi.hf.keymap import adapter_modules
from vox_populi.hf.model_config import parse_model_config
from vox_populi.infer.adapter_switch import BASE, AdapterSwitch
from vox_populi.infer.cached_model import CachedModel
from vox_populi.infer.generate import generate_ids
from vox_populi.infer.sampling_spec import SamplingSpec
from vox_populi.infer.text_batch import TextBatch
from vox_populi.model.lora_transformer import attach_adapters
from vox_populi.model.transformer import Transformer
from vox_populi.serve.engine import Engine, EngineLimits, EngineModel
from vox_populi.serve.text_group import EngineStoppedError, QueueFullError
from vox_populi.serve.text_job import Ended, Failed, Piece, TextEvent, TextJob
from vox_tensor.errors import Problem
from vox_tensor.lora_spec import LoraSpec

LLAMA = {
    "model_type": "llama",
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 128,
}
STOP = 63
LIMITS = EngineLimits(max_batch=4, max_queue=8, cache_tokens=4096, chunk_tokens=8)


def decode(ids: Any) -> str:
    return "".join(chr(ord(" ") + token) for token in ids)


def adapted_switch() -> AdapterSwitch:
    torch.manual_seed(0)
    model = Transformer(parse_model_config(LLAMA, "test"))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    switch = AdapterSwitch(model)
    for name in ("one", "two"):
        adapted = attach_adapters(model, adapter_modules(model.config), LoraSpec(rank=2))
        for layer in adapted.values():
            torch.nn.init.normal_(layer.b_OR)
        switch.keep(name, adapted)
    return switch


def make_engine(limits: EngineLimits = LIMITS, guarded: Any = nullcontext) -> Engine:
    switch = adapted_switch()
    names = {"base": BASE, "one": "one", "two": "two"}
    models = {
        name: EngineModel(
            batch=TextBatch(switch.model),
            adapter=adapter,
            decode=decode,
            stop_ids=frozenset([STOP]),
        )
        for name, adapter in names.items()
    }
    return Engine(models, switch, limits, guarded)


class Heard:
    """A job and its events."""

    def __init__(self, model: str = "base", **changes: Any) -> None:
        self.events: list[TextEvent] = []
        self.is_over = Event()
        settings: dict[str, Any] = {
            "prompt_ids": [1, 2, 3],
            "max_new_tokens": 20,
            "sampling": SamplingSpec(temperature=1.0),
            "deadline": time.monotonic() + 60,
        }
        self.job = TextJob(model=model, on_event=self._hear, **{**settings, **changes})

    def _hear(self, event: TextEvent) -> None:
        self.events.append(event)
        if not isinstance(event, Piece):
            self.is_over.set()

    @property
    def end(self) -> Ended:
        assert self.is_over.wait(20)
        last = self.events[-1]
        assert isinstance(last, Ended), last
        return last

    @property
    def text(self) -> str:
        end = self.end
        return "".join(each.text for each in self.events if isinstance(each, Piece)) + end.text

    @property
    def problem(self) -> Problem:
        assert self.is_over.wait(20)
        last = self.events[-1]
        assert isinstance(last, Failed), last
        return last.problem


@contextmanager
def running(engine: Engine) -> Iterator[Engine]:
    thread = Thread(target=engine.run)
    thread.start()
    try:
        yield engine
    finally:
        engine.stop()
        thread.join(20)
        assert not thread.is_alive()


def alone(model: str, seed: int, prompt: list[int]) -> tuple[int, ...]:
    """What the same settings give with the generator of `vox mens generate`."""
    switch = adapted_switch()
    switch.use(BASE if model == "base" else model)
    made = generate_ids(
        CachedModel(switch.model),
        prompt,
        max_new_tokens=20,
        stop_ids=[STOP],
        sampling=SamplingSpec(temperature=1.0, seed=seed),
    )
    return made.ids


def test_every_text_is_the_one_it_is_alone_whatever_else_is_in_the_batch() -> None:
    heard = [
        (
            model,
            seed,
            prompt,
            Heard(model, prompt_ids=prompt, sampling=SamplingSpec(temperature=1.0, seed=seed)),
        )
        for seed, prompt in enumerate(([1, 2, 3], list(range(30)), [5]))
        for model in ("base", "one", "two")
    ]
    with running(make_engine()) as engine:
        for _, _, _, each in heard:
            engine.submit([each.job])
        answers = {(model, seed): each.end.ids for model, seed, _, each in heard}
    expected = {(model, seed): alone(model, seed, prompt) for model, seed, prompt, _ in heard}
    assert answers == expected
    assert len(set(answers.values())) == len(answers), "adapters and seeds change what is written"


def test_pieces_are_the_text_and_scores_come_when_asked_for() -> None:
    plain, scored = Heard(), Heard(n_top=3)
    with running(make_engine()) as engine:
        engine.submit([plain.job, scored.job])
        assert plain.text == scored.text == decode(plain.end.ids)
    scores = [each.score for each in scored.events if isinstance(each, Piece)]
    assert all(each.score is None for each in plain.events if isinstance(each, Piece))
    assert [each.id for each in scores if each is not None] == list(scored.end.ids)
    for each in scores:
        assert each is not None
        assert each.logprob <= each.top[0][1] <= 0
        assert len(each.top) == 3


def test_a_stop_string_ends_a_text_before_itself() -> None:
    whole = Heard()
    with running(make_engine()) as engine:
        engine.submit([whole.job])
        stop = whole.text[5:7]
        stopped = Heard(stops=(stop,))
        engine.submit([stopped.job])
        assert stopped.text == whole.text[: whole.text.index(stop)]
    assert (stopped.end.stop_reason, stopped.end.stop_text) == ("stop_text", stop)
    assert len(stopped.end.ids) < len(whole.end.ids)


def test_a_request_can_add_stop_tokens_and_the_reasons_say_what_ended_a_text() -> None:
    whole = Heard()
    with running(make_engine()) as engine:
        engine.submit([whole.job])
        token = whole.end.ids[4]
        stopped = Heard(stop_ids=frozenset([token]))
        full = Heard(prompt_ids=[1] * 120, sampling=SamplingSpec())
        engine.submit([stopped.job, full.job])
        assert token not in stopped.end.ids
        reasons = [each.end.stop_reason for each in (whole, stopped, full)]
    assert reasons == ["length", "stop_token", "context"]


def test_the_queue_is_bounded_and_takes_all_or_nothing() -> None:
    engine = make_engine(EngineLimits(max_batch=2, max_queue=1, cache_tokens=999, chunk_tokens=8))
    first, second = [Heard() for _ in range(3)], [Heard() for _ in range(2)]
    engine.submit([each.job for each in first])
    with pytest.raises(QueueFullError):
        engine.submit([each.job for each in second])
    assert engine.counts == (3, 0)
    with running(engine):
        assert [len(each.end.ids) for each in first] == [20] * 3
    with pytest.raises(EngineStoppedError):
        engine.submit([second[0].job])


def test_what_is_cancelled_or_late_goes_and_the_others_go_on() -> None:
    engine = make_engine()
    kept, gone, late = Heard(), Heard(), Heard(deadline=time.monotonic() - 1)
    engine.submit([gone.job, kept.job, late.job])
    engine.cancel([gone.job])
    with running(engine):
        assert len(kept.end.ids) == 20
        assert late.problem.code == "MENS-S022"
    assert gone.events == []


def test_texts_wait_for_memory_and_one_that_never_fits_is_known() -> None:
    limits = EngineLimits(max_batch=4, max_queue=8, cache_tokens=200, chunk_tokens=8)
    engine = make_engine(limits)
    assert engine.fits(64)
    assert not engine.fits(128)
    heard = [Heard(prompt_ids=[1] * 40, max_new_tokens=8) for _ in range(4)]
    engine.submit([each.job for each in heard])
    with running(engine):
        assert [len(each.end.ids) for each in heard] == [8] * 4
    assert len({each.text for each in heard}) == 1


def test_a_failing_device_fails_the_texts_of_the_pass_and_not_the_server() -> None:
    problem = Problem(code="MENS-E099", what="no memory.", fix="Wait.")
    passes = iter([True, False])

    @contextmanager
    def guarded() -> Iterator[None]:
        if next(passes, False):
            raise EnvironmentFailure(problem)
        yield

    with running(make_engine(guarded=guarded)) as engine:
        broken = Heard()
        engine.submit([broken.job])
        assert broken.problem == problem
        sound = Heard()
        engine.submit([sound.job])
        assert len(sound.end.ids) == 20


def test_stopping_fails_what_waits_and_what_runs() -> None:
    engine = make_engine()
    heard = [Heard(max_new_tokens=100, prompt_ids=[1]) for _ in range(6)]
    engine.submit([each.job for each in heard])
    engine.stop()
    engine.run()
    assert {each.problem.code for each in heard} == {"MENS-S023"}
