"""`vox mens generate`: prompts in, text out. Needs torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vox_populi.data.supervision import encode_prompt
from vox_populi.errors import DataError
from vox_populi.infer.generate import Generated
from vox_populi.infer.generate_many import AskedText
from vox_populi.operator_messages import run as say
from vox_populi.operator_messages.wording import capped
from vox_populi.pipeline.answers import Answerer, answer_threads, longest_prompt, sampling_of
from vox_populi.pipeline.engine_setup import on_device
from vox_populi.pipeline.generate import GenerateRequest, GenerateResult, Prompt
from vox_populi.pipeline.load_model import FoundWeights, find_weights, load_weights
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_tensor.records import Message, Role


def generate(request: GenerateRequest) -> Iterator[GenerateResult]:
    """Continue each prompt; all prompts are checked before the weights are loaded.

    Raises:
        VoxError: As `pipeline.generate.generate` says.
    """
    samplings = [sampling_of(request, index) for index in range(len(request.prompts))]
    found = find_weights(request.weights)
    prompts = encoded_prompts(request.prompts, found)
    with on_device(found.device.device, answer_threads(found, request.weights.threads)):
        answerer = Answerer(found, load_weights(found).model)
        asked = [
            AskedText(prompt_ids=ids, max_new_tokens=request.max_new_tokens, sampling=sampling)
            for ids, sampling in zip(prompts, samplings, strict=True)
        ]
        for prompt, made in zip(request.prompts, answerer.answers(asked), strict=True):
            yield _result(prompt, answerer, made, found.notes)


class Loaded:
    """See `pipeline.generate.LoadedModel`."""

    def __init__(self, weights: WeightsChoice) -> None:
        self._found = find_weights(weights)
        self.name = self._found.name
        self.notes = self._found.notes
        self._threads = answer_threads(self._found, weights.threads)
        with on_device(self._found.device.device, weights.threads):
            self._answerer = Answerer(self._found, load_weights(self._found).model)

    def generate(self, prompt: str, **settings: Any) -> GenerateResult:
        """Continue a prompt.

        Raises:
            DataError: When the prompt leaves no room for an answer.
        """
        asked = Prompt(prompt)
        request = GenerateRequest(prompts=(asked,), **settings)
        (ids,) = encoded_prompts(request.prompts, self._found)
        with on_device(self._found.device.device, self._threads):
            made = self._answerer.answer(ids, request.max_new_tokens, sampling_of(request, 0))
        return _result(asked, self._answerer, made, self.notes)


def _result(
    prompt: Prompt, answerer: Answerer, made: Generated, notes: tuple[str, ...]
) -> GenerateResult:
    return GenerateResult(
        prompt=prompt.text,
        text=answerer.decode(made.ids),
        ids=made.ids,
        stop_reason=made.stop_reason.value,
        row_id=prompt.row_id,
        notes=notes,
    )


def encoded_prompts(prompts: Sequence[Prompt], found: FoundWeights) -> list[list[int]]:
    """Ids of prompts, each with room for an answer.

    Raises:
        DataError: With each prompt that leaves none.
    """
    limit = longest_prompt(found)
    encoded, problems = [], []
    for number, prompt in enumerate(prompts, 1):
        ids = encode_prompt([Message(Role.USER, prompt.text)], found.tokenizer, found.policy)
        encoded.append(ids)
        if not 0 < len(ids) <= limit:
            problems.append(say.prompt_unfit(number, len(ids), limit))
    if problems:
        raise DataError(*capped(problems))
    return encoded
