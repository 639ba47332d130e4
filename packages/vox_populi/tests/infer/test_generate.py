"""Sampling rules and the generation loop."""

from __future__ import annotations

import pytest
import torch

from vox_populi.errors import RunFailedError
from vox_populi.hf.model_config import parse_model_config
from vox_populi.infer.cached_model import CachedModel
from vox_populi.infer.continuation import StopReason
from vox_populi.infer.generate import generate_ids
from vox_populi.infer.sampling import (
    SamplingSpec,
    choose_token,
    keep_likely,
    penalise_repetition,
)
from vox_populi.model.transformer import Transformer

SCORES = torch.tensor([0.0, 3.0, 1.0, 2.0, 3.0])
GREEDY = SamplingSpec()


def model(embedding: float | None = None) -> CachedModel:
    torch.manual_seed(0)
    raw = {"model_type": "gpt2", "vocab_size": 16, "n_embd": 16, "n_layer": 1, "n_head": 2}
    transformer = Transformer(parse_model_config({**raw, "n_positions": 12}, "test"))
    for parameter in transformer.parameters():
        torch.nn.init.normal_(parameter)
    if embedding is not None:
        torch.nn.init.constant_(transformer.embed.weight, embedding)
    return CachedModel(transformer)


def test_greedy_takes_the_first_of_the_most_likely() -> None:
    assert choose_token(SCORES, (), GREEDY, torch.Generator()) == 1


def test_top_k_and_top_p_leave_only_the_likely() -> None:
    kept = keep_likely(SCORES, SamplingSpec(temperature=1.0, top_k=3))
    assert torch.isfinite(kept).tolist() == [False, True, False, True, True]
    kept = keep_likely(SCORES, SamplingSpec(temperature=1.0, top_p=0.5))
    assert torch.isfinite(kept).tolist() == [False, True, False, False, True]


def test_the_repetition_penalty_makes_earlier_tokens_less_likely_whatever_their_sign() -> None:
    scores = torch.tensor([2.0, -2.0, 2.0, -2.0])
    assert penalise_repetition(scores, [0, 1, 0, 0], 2.0).tolist() == [1.0, -4.0, 2.0, -2.0]
    assert scores.tolist() == [2.0, -2.0, 2.0, -2.0]
    spec = SamplingSpec(repetition_penalty=2.0)
    assert choose_token(SCORES, [1], spec, torch.Generator()) == 4


def test_sampling_follows_its_seed_and_only_draws_what_was_kept() -> None:
    def draws(seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        spec = SamplingSpec(temperature=2.0, top_k=3)
        return [choose_token(SCORES, (), spec, generator) for _ in range(40)]

    assert draws(1) == draws(1) != draws(2)
    assert set(draws(1)) == {1, 3, 4}


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": -1.0},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"repetition_penalty": 0.0},
    ],
)
def test_senseless_settings_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"top_p|negative|positive"):
        SamplingSpec(**bad)  # type: ignore[arg-type]  # floats stand for any setting


def test_generation_ends_at_length_stop_token_and_context() -> None:
    m = model()
    by_length = generate_ids(m, [1, 2], max_new_tokens=4, stop_ids=(), sampling=GREEDY)
    assert by_length.stop_reason is StopReason.LENGTH
    assert len(by_length.ids) == 4
    stop = by_length.ids[-1]
    before = by_length.ids[: by_length.ids.index(stop)]
    stopped = generate_ids(m, [1, 2], max_new_tokens=9, stop_ids={stop}, sampling=GREEDY)
    assert (stopped.ids, stopped.stop_reason) == (before, StopReason.STOP_TOKEN)
    heard: list[int] = []
    full = generate_ids(
        m, [1, 2], max_new_tokens=99, stop_ids=(), sampling=GREEDY, on_token=heard.append
    )
    assert tuple(heard) == full.ids
    assert (len(full.ids), full.stop_reason) == (10, StopReason.CONTEXT)


@pytest.mark.parametrize("length", [0, 12])
def test_prompts_that_do_not_fit_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match="1 to 11 tokens"):
        generate_ids(model(), [1] * length, max_new_tokens=1, stop_ids=(), sampling=GREEDY)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_scores_that_are_not_numbers_choose_no_token(temperature: float) -> None:
    m = model(embedding=torch.inf)
    sampling = SamplingSpec(temperature=temperature)
    with pytest.raises(RunFailedError) as caught:
        generate_ids(m, [1, 2], max_new_tokens=4, stop_ids=(), sampling=sampling)
    assert [problem.code for problem in caught.value.problems] == ["MENS-R014"]
