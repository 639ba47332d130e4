"""`/v1/completions`. No torch."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from vox_populi.operator_messages import serving as say
from vox_populi.serve.answer_choice import AnswerChoice
from vox_populi.serve.answer_objects import AnswerHead, Json, text_logprobs, usage_json
from vox_populi.serve.api_error import bad_request
from vox_populi.serve.completion_request import (
    CompletionRequest,
    TextOrIds,
    read_completion_request,
)
from vox_populi.serve.event_stream import EventStream
from vox_populi.serve.request_body import read_body
from vox_populi.serve.served_model import ServedModel
from vox_populi.serve.service import Service, ignored_header
from vox_populi.serve.text_group import TextGroup
from vox_populi.serve.text_job import Ended, Piece, ScoredToken
from vox_populi.serve.until_gone import until_gone


async def completions(request: Request) -> Response:
    """Continue texts, at once or as a stream."""
    service: Service = request.app.state.service
    raw = await read_body(request, service.limits.max_body_bytes)
    asked = read_completion_request(
        raw, most_tokens=service.limits.max_tokens, random_seed=secrets.randbits(62)
    )
    model = service.model(asked.settings.model)
    prompts = await service.encode(lambda: [_ids(model, each) for each in asked.prompts])
    group = service.start(asked.settings, prompts)
    head = service.head(asked.settings, is_chat=False)
    answer = CompletionAnswer(asked, head, prompts)
    headers = ignored_header(asked.settings.ignored)
    if asked.settings.stream:
        return EventStream(answer.chunks(group), service.limits.timeout_secs, headers)
    return JSONResponse(await until_gone(request, answer.whole(group)), headers=headers)


class CompletionAnswer:
    """The choices of an answer, as they are written.

    Args:
        asked: The request.
        head: The shared part of its objects.
        prompts: Ids of the prompts.
    """

    def __init__(
        self, asked: CompletionRequest, head: AnswerHead, prompts: Sequence[Sequence[int]]
    ) -> None:
        self._settings = asked.settings
        self._head = head
        self._prompts = prompts
        count = asked.settings.n * len(asked.prompts)
        self._choices = [AnswerChoice(number=number) for number in range(count)]

    async def whole(self, group: TextGroup) -> Json:
        """The answer when all of it is written.

        Raises:
            ApiError: When a text fails.
        """
        async for number, event in group.events():
            self._choices[number].take(event)
        parts = [
            {**self._part(each, each.text, each.scores, 0), **self._ids_json(each)}
            for each in self._choices
        ]
        return self._head.whole(parts, self._usage())

    async def chunks(self, group: TextGroup) -> AsyncIterator[Mapping[str, object]]:
        """The answer in parts.

        Raises:
            ApiError: When a text fails.
        """
        wants_usage = self._settings.include_usage
        async for number, event in group.events():
            choice = self._choices[number]
            offset = len(choice.text)
            text = choice.take(event)
            has_score = isinstance(event, Piece) and event.score is not None
            if text or has_score or isinstance(event, Ended):
                scores = choice.scores[-1:] if has_score else []
                part = self._part(choice, text, scores, offset)
                yield self._head.chunk([part], {"usage": None} if wants_usage else None)
        if wants_usage:
            yield self._head.chunk([], {"usage": self._usage()})

    def _part(
        self, choice: AnswerChoice, text: str, scores: list[ScoredToken], offset: int
    ) -> Json:
        has_scores = self._settings.n_top is not None
        logprobs = text_logprobs(self._head.model, scores, offset) if has_scores else None
        part: Json = {"index": choice.number, "text": text, "logprobs": logprobs}
        part["finish_reason"] = None
        if choice.ended is not None:
            part |= {"finish_reason": choice.finish_reason, "stop_reason": choice.stop_reason}
        return part

    def _ids_json(self, choice: AnswerChoice) -> Json:
        if not self._settings.return_ids:
            return {}
        prompt = self._prompts[choice.number // self._settings.n]
        return {"prompt_token_ids": list(prompt), **choice.ids_json(wanted=True)}

    def _usage(self) -> Json:
        ended = [each.ended for each in self._choices if each.ended is not None]
        return usage_json(sum(map(len, self._prompts)), sum(len(each.ids) for each in ended))


def _ids(model: ServedModel, prompt: TextOrIds) -> list[int]:
    if isinstance(prompt, str):
        return model.encode_text(prompt)
    if not all(0 <= each < model.vocab_size for each in prompt):
        expected = f"made of token ids below {model.vocab_size}"
        raise bad_request(say.field_out_of_range("prompt", expected), "prompt")
    return list(prompt)
