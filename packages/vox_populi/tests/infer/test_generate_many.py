"""Texts that are computed together are the texts that each is alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from packages.vox_populi.tests.infer.test_text_batch import (
    GPT2,
    LLAMA,
    LONGROPE,
    WINDOW,
    transformer,
)
from vox_populi.errors import RunFailedError
from vox_populi.infer import generate_many as many
from vox_populi.infer.cached_model import CachedModel
from vox_populi.infer.continuation import StopReason
from vox_populi.infer.generate import Generated, generate_ids
from vox_populi.infer.generate_many import (
    AT_ONCE,
    SHORTEST_SHARED,
    AskedText,
    generate_many,
)
from vox_populi.infer.sampling_spec import SamplingSpec
from vox_populi.model.transformer import Transformer

STOPS = frozenset({7, 12, 21, 30})


class Alone:
    """Computes texts one at a time, and counts them."""

    def __init__(self, model: Transformer) -> None:
        self.model = model
        self.count = 0

    def __call__(self, asked: AskedText) -> Generated:
        self.count += 1
        return generate_ids(
            CachedModel(self.model),
            asked.prompt_ids,
            max_new_tokens=asked.max_new_tokens,
            stop_ids=STOPS,
            sampling=asked.sampling,
        )


def prompts(count: int, shared: int = 0, samplings: Sequence[SamplingSpec] = ()) -> list[AskedText]:
    draw = random.Random(3)
    start = [draw.randrange(8, 32) for _ in range(shared)]
    asked = []
    for number in range(count):
        ids = [*start, *(draw.randrange(8, 32) for _ in range(draw.randrange(1, 12)))]
        sampling = samplings[number] if samplings else SamplingSpec()
        most = 4 + 2 * (number % 9)
        asked.append(AskedText(prompt_ids=ids, max_new_tokens=most, sampling=sampling))
    return asked


def together(model: Transformer, asked: list[AskedText]) -> tuple[list[Generated], int]:
    """All texts, and how many of them were computed alone."""
    alone = Alone(model)
    return list(generate_many(model, asked, alone, STOPS)), alone.count


@pytest.mark.parametrize("raw", [LLAMA, WINDOW, LONGROPE, GPT2], ids=lambda raw: raw["model_type"])
@pytest.mark.parametrize("shared", [0, SHORTEST_SHARED + 3])
def test_many_prompts_have_the_texts_that_each_has_alone(raw: dict[str, Any], shared: int) -> None:
    model = transformer({**raw, "max_position_embeddings": 64}).eval()
    asked = prompts(AT_ONCE + 5, shared)
    found, n_alone = together(model, asked)
    alone = Alone(model)
    assert found == [alone(each) for each in asked]
    assert n_alone <= 2, "most are computed together"
    assert len({made.ids for made in found}) > len(asked) // 2


def test_a_text_whose_best_tokens_are_close_is_computed_alone() -> None:
    model = transformer(LLAMA).eval()
    with torch.no_grad():
        # Token 9 has the scores of token 8: whenever one of them is the best, both are.
        model.lm_head.weight[9] = model.lm_head.weight[8]
    asked = prompts(8)
    found, n_alone = together(model, asked)
    alone = Alone(model)
    assert found == [alone(each) for each in asked]
    has_eight = sum(8 in made.ids for made in found)
    assert 0 < has_eight <= n_alone < len(asked)
    assert not any(9 in made.ids for made in found), "of two equal ones the first is chosen"


def test_what_is_drawn_or_penalised_is_computed_alone() -> None:
    model = transformer(LLAMA).eval()
    samplings = [
        SamplingSpec(),
        SamplingSpec(temperature=1.0, seed=4),
        SamplingSpec(top_k=3, seed=9),
        SamplingSpec(repetition_penalty=1.5),
    ]
    asked = prompts(len(samplings), samplings=samplings)
    found, n_alone = together(model, asked)
    alone = Alone(model)
    assert found == [alone(each) for each in asked]
    assert n_alone == 2


def test_one_prompt_and_a_model_in_16_bits_on_a_cpu_are_computed_alone() -> None:
    model = transformer(LLAMA).eval()
    assert together(model, prompts(1))[1] == 1
    narrow = transformer(LLAMA).eval().to(torch.bfloat16)
    assert together(narrow, prompts(3))[1] == 3


def test_on_a_gpu_a_model_in_16_bits_computes_all_texts_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(many, "is_on_gpu", lambda model: True)
    narrow = transformer(LLAMA).eval().to(torch.bfloat16)
    samplings = [SamplingSpec(), SamplingSpec(temperature=1.0, seed=4), SamplingSpec()] * 3
    asked = prompts(len(samplings), samplings=samplings)
    found, n_alone = together(narrow, asked)
    assert n_alone == 0
    assert together(narrow, asked)[0] == found, "the same prompts have the same answers"
    alone = Alone(narrow)
    pairs = zip(found, map(alone, asked), strict=True)
    assert sum(made == other for made, other in pairs) > len(asked) // 2, "rounding is rare"
    assert {made.stop_reason for made in found} == set(StopReason) - {StopReason.CONTEXT}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_that_are_not_finite_fail_after_the_texts_before(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "is_on_gpu", lambda model: True)
    model = transformer({**LLAMA, "tie_word_embeddings": False}).eval().to(dtype)
    asked = [
        AskedText(prompt_ids=ids, max_new_tokens=20) for ids in ([3, 4, 5], [6, 20, 9], [3, 4])
    ]
    fine = together(model, asked[:1])[0][0]
    assert 20 not in fine.ids
    with torch.no_grad():
        model.embed.weight[20] = torch.nan
    made = generate_many(model, asked, Alone(model), STOPS)
    assert next(made) == fine
    with pytest.raises(RunFailedError, match="MENS-R"):
        next(made)
