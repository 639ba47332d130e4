"""Tier A: cached generation against passes over the whole text, and against transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, RepetitionPenaltyLogitsProcessor

from tests_integration.tiny_models import (
    CONFIGS,
    FAMILY_CASES,
    SHORT_CONTEXT,
    VOCAB,
    write_tiny_model,
)
from tests_integration.tolerances import F32_LOGITS, assert_parity
from vox_populi.hf.inventory import read_inventory
from vox_populi.infer.cached_model import CachedModel
from vox_populi.infer.generate import generate_ids
from vox_populi.infer.sampling import SamplingSpec
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.model.hf_load import load_base
from vox_tensor.collate import collate_window
from vox_tensor.records import EncodedRow

PROMPT_LENGTH = SHORT_CONTEXT // 4
"""Inside every sliding window; what is written leaves it."""
NEW_TOKENS = 3 * SHORT_CONTEXT
BEYOND_THEIR_FAMILY = (
    "llama_yarn",
    "phi3_longrope",
    "phi3_sliding",
    "qwen2_sliding",
    "qwen3_sliding",
)


def prompt(length: int = PROMPT_LENGTH, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    ids: list[int] = torch.randint(3, VOCAB, (length,), generator=generator).tolist()
    return ids


def tiny(folder: Path, name: str) -> tuple[PreTrainedModel, CausalGraph]:
    theirs = write_tiny_model(folder, name)
    return theirs, load_base(read_inventory(folder), torch.float32).eval()


@torch.no_grad()
def all_logits(model: CausalGraph, ids: list[int]) -> torch.Tensor:
    return model.logits(collate_window([EncodedRow(tuple(ids), tuple(ids))]))


def step_scores(model: CausalGraph, ids: list[int]) -> torch.Tensor:
    """Scores after each of `ids` from the prompt's last one on, without a cache.

    One pass has them all, unless the length of a text decides how its first tokens are rotated.
    """
    places = range(PROMPT_LENGTH, len(ids) + 1)
    rope = model.config.rope
    if rope is not None and rope.is_long(len(ids)):
        return torch.stack([all_logits(model, ids[:place])[-1] for place in places])
    return all_logits(model, ids)[PROMPT_LENGTH - 1 :]


def greedy_without_cache(model: CausalGraph, ids: list[int], n: int) -> list[int]:
    made = list(ids)
    for _ in range(n):
        made.append(int(all_logits(model, made)[-1].argmax()))
    return made[len(ids) :]


def ours(model: CausalGraph, ids: list[int], **sampling: float) -> list[int]:
    spec = SamplingSpec(**sampling)  # type: ignore[arg-type]  # floats stand for any setting
    made = generate_ids(
        CachedModel(model), ids, max_new_tokens=NEW_TOKENS, stop_ids=(), sampling=spec
    )
    return list(made.ids)


def their_greedy(model: PreTrainedModel, ids: list[int], **settings: float) -> list[int]:
    out = model.generate(  # type: ignore[operator]  # theirs, half annotated
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.int64),
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
        **settings,
    )
    made: list[int] = out[0, len(ids) :].tolist()
    return made


def assert_no_rounding_decides(model: CausalGraph, made: list[int], penalty: float = 1.0) -> None:
    """No second-best token is so near that scores off by their tolerance could make it the best."""
    ids = prompt() + made
    penalise = RepetitionPenaltyLogitsProcessor(penalty)
    for place, scores in enumerate(step_scores(model, ids[:-1]), PROMPT_LENGTH):
        judged: torch.Tensor = penalise(torch.tensor([ids[:place]]), scores.unsqueeze(0))
        best, second = judged.squeeze(0).topk(2).values.tolist()
        allowed = F32_LOGITS.atol + F32_LOGITS.rtol * abs(best)
        assert best - second > 2 * penalty * allowed, "another seed: chance would decide here"


@pytest.mark.parametrize("name", CONFIGS)
def test_cached_greedy_is_uncached_greedy_token_for_token(name: str, tmp_path: Path) -> None:
    _, model = tiny(tmp_path, name)
    cached = ours(model, prompt())
    assert cached == greedy_without_cache(model, prompt(), NEW_TOKENS)
    assert len(set(cached)) > 1, "one token over and over would prove little"
    assert_no_rounding_decides(model, cached)


@pytest.mark.parametrize("name", CONFIGS)
def test_scores_of_every_step_are_those_of_one_pass(name: str, tmp_path: Path) -> None:
    _, model = tiny(tmp_path, name)
    ids = prompt(PROMPT_LENGTH + NEW_TOKENS)
    expected = step_scores(model, ids)
    cached = CachedModel(model)
    steps = [cached.next_logits(ids[:n]) for n in range(PROMPT_LENGTH, len(ids) + 1)]
    assert_parity(torch.stack(steps), expected, F32_LOGITS)
    assert expected.std() > F32_LOGITS.atol


@pytest.mark.parametrize("name", CONFIGS)
def test_a_conversation_continues_after_the_cached_tokens(name: str, tmp_path: Path) -> None:
    _, model = tiny(tmp_path, name)
    cached, first = CachedModel(model), prompt(SHORT_CONTEXT)
    cached.next_logits(first)
    # Another end, then several tokens at once: past the window and within it.
    for ids in (first[:-2] + prompt(SHORT_CONTEXT, 1), first[:3] + prompt(2, 2)):
        assert_parity(cached.next_logits(ids), all_logits(model, ids)[-1], F32_LOGITS)


@pytest.mark.parametrize("name", [*FAMILY_CASES, *BEYOND_THEIR_FAMILY])
def test_greedy_output_is_that_of_transformers(name: str, tmp_path: Path) -> None:
    theirs, model = tiny(tmp_path, name)
    made = ours(model, prompt())
    assert made == their_greedy(theirs, prompt())
    assert_no_rounding_decides(model, made)


@pytest.mark.parametrize("name", FAMILY_CASES)
def test_the_repetition_penalty_is_that_of_transformers(name: str, tmp_path: Path) -> None:
    theirs, model = tiny(tmp_path, name)
    expected = their_greedy(theirs, prompt(), repetition_penalty=1.3)
    assert ours(model, prompt(), repetition_penalty=1.3) == expected
    assert ours(model, prompt()) != expected
    assert_no_rounding_decides(model, expected, penalty=1.3)
