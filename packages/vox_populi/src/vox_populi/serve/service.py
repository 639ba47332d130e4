"""What all routes that generate share: turning a checked request into texts. No torch."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TypeVar

from vox_populi.operator_messages import serving as say
from vox_populi.serve.answer_objects import AnswerHead
from vox_populi.serve.api_error import ApiError, bad_request
from vox_populi.serve.generation_request import GenerationSettings
from vox_populi.serve.metrics import ServerMetrics, TextWatch
from vox_populi.serve.served_model import ServedModel
from vox_populi.serve.text_group import Listener, TextEngine, TextGroup
from vox_populi.serve.text_job import TextJob
from vox_tensor.errors import VoxError

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Bounds of a request."""

    max_tokens: int
    """Largest number of new tokens."""
    max_body_bytes: int
    timeout_secs: float
    """Time for a whole answer, with its time in the queue."""


class Service:
    """The models, the engine, and the bounds.

    Args:
        models: By name.
        engine: Computes texts.
        limits: Bounds of a request.
    """

    def __init__(
        self, models: Mapping[str, ServedModel], engine: TextEngine, limits: HttpLimits
    ) -> None:
        self.models = models
        self.engine = engine
        self.limits = limits
        self.metrics = ServerMetrics(engine)
        # Templates and tokenizers work one prompt after the other, and never on the server's loop.
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="encode")

    def model(self, name: str) -> ServedModel:
        """A model by the name that a request has.

        Raises:
            ApiError: When there is none.
        """
        if name not in self.models:
            raise ApiError(
                HTTPStatus.NOT_FOUND,
                say.model_unknown(name, tuple(self.models)),
                param="model",
                code="model_not_found",
            )
        return self.models[name]

    async def encode(self, make: Callable[[], ResultT]) -> ResultT:
        """Encode prompts.

        Raises:
            ApiError: For a prompt that template or tokenizer refuse.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._encoder, make)
        except VoxError as error:
            raise bad_request(error.problems[0], "messages") from None

    def start(self, settings: GenerationSettings, prompts: Sequence[Sequence[int]]) -> TextGroup:
        """Start all texts of a request, `n` of each prompt in turn.

        Raises:
            ApiError: For a prompt without room for its answer, or when nothing is taken in.
        """
        for ids in prompts:
            self._require_room(settings, len(ids))
        deadline = time.monotonic() + self.limits.timeout_secs

        def jobs(listener: Callable[[int], Listener]) -> list[TextJob]:
            wanted = [(ids, i) for ids in prompts for i in range(settings.n)]
            return [
                TextJob(
                    model=settings.model,
                    prompt_ids=ids,
                    max_new_tokens=settings.max_new_tokens,
                    # As `vox mens generate` numbers the streams of its prompts.
                    sampling=replace(
                        settings.sampling, seed=(settings.sampling.seed + number) % 2**63
                    ),
                    deadline=deadline,
                    on_event=listener(number),
                    stops=settings.stops,
                    stop_ids=settings.stop_ids,
                    n_top=settings.n_top,
                )
                for number, (ids, _) in enumerate(wanted)
            ]

        group = TextGroup(self.engine, jobs, TextWatch(self.metrics, settings.model).see)
        group.start()
        self.metrics.prompt_tokens.labels(settings.model).inc(sum(map(len, prompts)))
        return group

    def head(self, settings: GenerationSettings, *, is_chat: bool) -> AnswerHead:
        """The shared part of an answer's objects."""
        kind = "chatcmpl" if is_chat else "cmpl"
        return AnswerHead(
            id=f"{kind}-{secrets.token_hex(12)}",
            created=int(time.time()),
            model=self.model(settings.model),
            is_chat=is_chat,
        )

    def close(self) -> None:
        """Let go of the thread that encodes."""
        self._encoder.shutdown(wait=False, cancel_futures=True)

    def _require_room(self, settings: GenerationSettings, n_prompt: int) -> None:
        most = self.model(settings.model).max_positions
        new = settings.max_new_tokens
        if not 0 < n_prompt < most:
            problem = say.context_exceeded(n_prompt, new, most)
            raise bad_request(problem, "messages", "context_length_exceeded")
        longest = min(most, n_prompt + new)
        if not self.engine.fits(longest):
            raise bad_request(say.cache_too_small(longest), "max_tokens")


def ignored_header(ignored: tuple[str, ...]) -> dict[str, str]:
    """The header that names the fields of a request which changed nothing."""
    return {"X-Vox-Ignored": ", ".join(ignored)} if ignored else {}
