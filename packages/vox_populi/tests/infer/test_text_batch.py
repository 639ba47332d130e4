"""Texts in a batch have the scores that they have alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vox_populi.hf.model_config import parse_model_config
from vox_populi.infer.cached_model import CachedModel
from vox_populi.infer.continuation import Continuation, ContinuationLimits
from vox_populi.infer.sampling import SamplingSpec
from vox_populi.infer.text_batch import BatchedText, Scored, TextBatch
from vox_populi.model.transformer import Transformer

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 96,
    "rms_norm_eps": 1e-5,
}
WINDOW = {**LLAMA, "model_type": "mistral", "sliding_window": 4}
LONGROPE = {
    **LLAMA,
    "model_type": "phi3",
    "original_max_position_embeddings": 8,
    "rope_scaling": {
        "type": "longrope",
        "short_factor": [1.0, 1.5],
        "long_factor": [2.0, 5.0],
    },
}
GPT2 = {"model_type": "gpt2", "vocab_size": 32, "n_embd": 16, "n_layer": 2, "n_head": 2}
PROMPTS = ([3, 1, 4], [1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7], [9], [2, 7, 1, 8, 2, 8])


def transformer(raw: dict[str, Any]) -> Transformer:
    torch.manual_seed(0)
    made = Transformer(parse_model_config(raw, "test"))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    made.tie_head()
    return made


def text(prompt: list[int], seed: int = 0, most: int = 12) -> Continuation:
    limits = ContinuationLimits(max_new_tokens=most, max_positions=96, stop_ids=())
    return Continuation(prompt, limits, SamplingSpec(temperature=1.0, seed=seed))


class Watched:
    """A batch whose scores are kept for each text."""

    def __init__(self, batch: TextBatch) -> None:
        self.batch = batch
        self.scores: dict[Continuation, list[Tensor]] = {}

    def turn(self, chunk: int = 4) -> None:
        """One turn of an engine."""
        self._take(self.batch.step())
        self._take(self.batch.read_prompts(chunk))

    def _take(self, scored: Scored) -> None:
        for each, scores_V in scored:
            self.scores.setdefault(each.text, []).append(scores_V)
            each.text.take(scores_V)
            if each.text.stop_reason is not None:
                self.batch.remove(each)


def alone(model: Transformer, made: Continuation) -> list[Tensor]:
    """The scores of each step, computed by the model with a cache of one text."""
    cached = CachedModel(model)
    first = len(made.ids) - len(made.new_ids)
    return [cached.next_logits(made.ids[:end]) for end in range(first, len(made.ids))]


@pytest.mark.parametrize("raw", [LLAMA, WINDOW, LONGROPE, GPT2], ids=lambda raw: raw["model_type"])
@pytest.mark.parametrize("is_exact", [False, True])
def test_texts_that_come_and_go_have_the_scores_they_have_alone(
    raw: dict[str, Any], is_exact: bool
) -> None:
    model = transformer(raw)
    watched = Watched(TextBatch(model, is_exact=is_exact))
    texts = [text(prompt, seed, most=4 + 3 * seed) for seed, prompt in enumerate(PROMPTS)]
    for made in texts:
        watched.batch.add(made)
        watched.turn()
    while watched.batch.texts:
        watched.turn()
    assert watched.batch.tokens == 0, "all memory is returned"
    for made in texts:
        assert made.stop_reason is not None
        for found, expected in zip(watched.scores[made], alone(model, made), strict=True):
            torch.testing.assert_close(found, expected)
            assert not is_exact or torch.equal(found, expected)
    assert len({made.new_ids for made in texts}) == len(texts)


def test_a_text_that_broke_leaves_nothing_for_the_next_one_in_its_slot() -> None:
    model = transformer(LLAMA)
    watched = Watched(TextBatch(model))
    broken, kept = text(PROMPTS[1]), text(PROMPTS[0])
    texts = [watched.batch.add(each) for each in (broken, kept)]
    watched.turn(chunk=99)
    with torch.inference_mode():
        for held in (*watched.batch._slots._keys, *watched.batch._slots._values):
            assert held is not None
            held[0] = torch.nan
    watched.batch.remove(texts[0])
    fresh = text(PROMPTS[2])
    watched.batch.add(fresh)
    while watched.batch.texts:
        watched.turn()
    for made in (kept, fresh):
        for found, expected in zip(watched.scores[made], alone(model, made), strict=True):
            torch.testing.assert_close(found, expected)


def test_a_long_prompt_is_read_in_chunks_while_another_text_goes_on() -> None:
    watched = Watched(TextBatch(transformer(LLAMA)))
    short, long = text([1, 2]), text(list(range(24)))
    watched.batch.add(short)
    watched.turn()
    watched.batch.add(long)
    for _ in range(5):
        watched.turn(chunk=4)
    assert (len(short.new_ids), len(long.new_ids)) == (6, 0)
    watched.turn(chunk=4)
    assert len(long.new_ids) == 1


def test_memory_is_counted_before_a_text_comes_and_follows_what_is_there() -> None:
    batch = TextBatch(transformer(LLAMA))
    counted: list[tuple[int, int]] = []
    held: list[BatchedText] = []
    for prompt in PROMPTS:
        made = text(prompt, most=60)
        expected = batch.tokens_with(made.longest)
        held.append(batch.add(made))
        for scored in batch.read_prompts(99):
            scored[0].text.take(scored[1])
        counted.append((expected, batch.tokens))
    assert all(expected >= tokens > 0 for expected, tokens in counted)
    for each in held:
        batch.remove(each)
    assert batch.tokens == 0
    batch.add(text([1]))
    batch.clear()
    assert batch.texts == ()
