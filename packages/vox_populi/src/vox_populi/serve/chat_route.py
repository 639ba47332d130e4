"""`/v1/chat/completions`. No torch."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from vox_populi.serve.answer_choice import AnswerChoice
from vox_populi.serve.answer_objects import AnswerHead, Json, chat_logprobs, usage_json
from vox_populi.serve.chat_request import ChatRequest, read_chat_request
from vox_populi.serve.event_stream import EventStream
from vox_populi.serve.request_body import read_body
from vox_populi.serve.service import Service, ignored_header
from vox_populi.serve.text_group import TextGroup
from vox_populi.serve.text_job import Ended, Piece
from vox_populi.serve.tool_calls import ToolCallFinder
from vox_populi.serve.until_gone import until_gone


async def chat_completions(request: Request) -> Response:
    """Answer a conversation, at once or as a stream."""
    service: Service = request.app.state.service
    raw = await read_body(request, service.limits.max_body_bytes)
    asked = read_chat_request(
        raw, most_tokens=service.limits.max_tokens, random_seed=secrets.randbits(62)
    )
    model = service.model(asked.settings.model)
    ids = await service.encode(lambda: model.encode_chat(asked.messages, asked.tools))
    group = service.start(asked.settings, [ids])
    answer = ChatAnswer(asked, service.head(asked.settings, is_chat=True), ids)
    headers = ignored_header(asked.settings.ignored)
    if asked.settings.stream:
        return EventStream(answer.chunks(group), service.limits.timeout_secs, headers)
    return JSONResponse(await until_gone(request, answer.whole(group)), headers=headers)


class ChatAnswer:
    """The choices of an answer, as they are written.

    Args:
        asked: The request.
        head: The shared part of its objects.
        prompt_ids: Ids of the prompt.
    """

    def __init__(self, asked: ChatRequest, head: AnswerHead, prompt_ids: Sequence[int]) -> None:
        self._asked = asked
        self._head = head
        self._prompt_ids = prompt_ids
        names = tuple(_name(tool) for tool in asked.tools)
        self._choices = [
            AnswerChoice(
                number=number,
                finder=ToolCallFinder(names) if names else None,
                one_call=asked.one_call,
            )
            for number in range(asked.settings.n)
        ]

    async def whole(self, group: TextGroup) -> Json:
        """The answer when all of it is written.

        Raises:
            ApiError: When a text fails.
        """
        async for number, event in group.events():
            self._choices[number].take(event)
        choices = [self._whole_choice(each) for each in self._choices]
        prompt_ids = self._prompt_ids if self._asked.settings.return_ids else None
        return self._head.whole(choices, self._usage(), prompt_ids)

    async def chunks(self, group: TextGroup) -> AsyncIterator[Mapping[str, object]]:
        """The answer in parts.

        Raises:
            ApiError: When a text fails.
        """
        for choice in self._choices:
            yield self._chunk(choice, {"role": "assistant", "content": ""})
        async for number, event in group.events():
            choice = self._choices[number]
            text = choice.take(event)
            if isinstance(event, Piece):
                if text or event.score is not None:
                    yield self._chunk(choice, {"content": text}, event)
                continue
            if text:
                yield self._chunk(choice, {"content": text})
            if choice.calls:
                yield self._chunk(choice, {"tool_calls": choice.calls_json(with_index=True)})
            yield self._chunk(choice, {}, event)
        if self._asked.settings.include_usage:
            yield self._head.chunk([], {"usage": self._usage()})

    def _chunk(self, choice: AnswerChoice, delta: Json, event: Piece | Ended | None = None) -> Json:
        part: Json = {"index": choice.number, "delta": delta, "logprobs": None}
        part["finish_reason"] = None
        if isinstance(event, Piece) and event.score is not None:
            part["logprobs"] = chat_logprobs(self._head.model, [event.score])
        if isinstance(event, Ended):
            part |= {"finish_reason": choice.finish_reason, "stop_reason": choice.stop_reason}
        wants_usage = self._asked.settings.include_usage
        return self._head.chunk([part], {"usage": None} if wants_usage else None)

    def _whole_choice(self, choice: AnswerChoice) -> Json:
        message: Json = {"role": "assistant", "content": choice.text, "refusal": None}
        if choice.calls:
            message["content"] = choice.text or None
            message["tool_calls"] = choice.calls_json(with_index=False)
        wants_scores = self._asked.settings.n_top is not None
        scores = chat_logprobs(self._head.model, choice.scores) if wants_scores else None
        return {
            "index": choice.number,
            "message": message,
            "logprobs": scores,
            "finish_reason": choice.finish_reason,
            "stop_reason": choice.stop_reason,
            **choice.ids_json(wanted=self._asked.settings.return_ids),
        }

    def _usage(self) -> Json:
        ended = [each.ended for each in self._choices if each.ended is not None]
        return usage_json(len(self._prompt_ids), sum(len(each.ids) for each in ended))


def _name(tool: Mapping[str, object]) -> str:
    function: Any = tool["function"]
    return str(function["name"])
