"""`vox mens generate`: prompts in, text out. Needs torch."""

from __future__ import annotations

from collections.abc import Iterator

from vox_populi import operator_messages as say
from vox_populi.data.supervision import encode_prompt, end_of_answer_id
from vox_populi.errors import ConfigError, DataError
from vox_populi.infer.generate import generate_ids
from vox_populi.infer.sampling import SamplingSpec
from vox_populi.pipeline.engine_setup import on_device
from vox_populi.pipeline.reports import GenerateResult
from vox_populi.pipeline.requests import GenerateRequest
from vox_populi.pipeline.weights import FoundWeights, find_weights, load_weights
from vox_tensor.errors import Problem
from vox_tensor.records import Message, Role


def generate(request: GenerateRequest) -> Iterator[GenerateResult]:
    """Continue each prompt; all prompts are checked before the weights are loaded.

    Raises:
        VoxError: As `pipeline.dispatch.generate` says.
    """
    samplings = [_sampling(request, index) for index in range(len(request.prompts))]
    found = find_weights(request.weights)
    prompts = _encoded_prompts(request, found)
    stop_ids = _stop_ids(found)
    with on_device(found.device.device, request.weights.threads):
        model = load_weights(found).model
        for text, ids, sampling in zip(request.prompts, prompts, samplings, strict=True):
            made = generate_ids(
                model,
                ids,
                max_new_tokens=request.max_new_tokens,
                stop_ids=stop_ids,
                sampling=sampling,
            )
            yield GenerateResult(
                prompt=text,
                text=found.tokenizer.decode(made.ids),
                ids=made.ids,
                stop_reason=made.stop_reason.value,
            )


def _sampling(request: GenerateRequest, index: int) -> SamplingSpec:
    """How to choose tokens after one prompt; each prompt has a stream of its own."""
    problems = list(_out_of_range(request))
    if problems:
        raise ConfigError(*problems)
    return SamplingSpec(
        temperature=request.temperature,
        top_k=request.top_k or 0,
        top_p=request.top_p,
        seed=request.seed + index,
    )


def _out_of_range(request: GenerateRequest) -> Iterator[Problem]:
    if request.max_new_tokens < 1:
        yield say.setting_out_of_range("--max-new-tokens", request.max_new_tokens, "at least 1")
    if not 0 <= request.temperature < float("inf"):
        yield say.setting_out_of_range("--temperature", request.temperature, "at least 0")
    if request.top_k is not None and request.top_k < 1:
        yield say.setting_out_of_range("--top-k", request.top_k, "at least 1")
    if not 0 < request.top_p <= 1:
        yield say.setting_out_of_range("--top-p", request.top_p, "above 0, at most 1")


def _encoded_prompts(request: GenerateRequest, found: FoundWeights) -> list[list[int]]:
    limit = found.inventory.config.max_positions
    encoded, problems = [], []
    for number, prompt in enumerate(request.prompts, 1):
        ids = encode_prompt([Message(Role.USER, prompt)], found.tokenizer, found.policy)
        encoded.append(ids)
        if not 0 < len(ids) < limit:
            problems.append(say.prompt_unfit(number, len(ids), limit - 1))
    if problems:
        raise DataError(*say.capped(problems))
    return encoded


def _stop_ids(found: FoundWeights) -> frozenset[int]:
    """What ends an answer: as trained, and what the base and its tokenizer call the end."""
    ends = (end_of_answer_id(found.tokenizer, found.policy), found.tokenizer.eos_id)
    known = (end for end in ends if end is not None)
    return frozenset((*known, *found.inventory.config.eos_ids))
