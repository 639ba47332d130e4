"""The texts of one request, awaited on the server's loop while the model's thread writes them.

No torch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Protocol

from vox_populi.operator_messages import serving as say
from vox_populi.serve.api_error import ApiError
from vox_populi.serve.text_job import Ended, Failed, Piece, TextEvent, TextJob


class QueueFullError(Exception):
    """No more texts are taken in at the moment."""


class EngineStoppedError(Exception):
    """The engine takes nothing in any more."""


class TextEngine(Protocol):
    """What computes texts (`serve.engine.Engine`)."""

    @property
    def is_open(self) -> bool:
        """Whether jobs are taken in."""

    @property
    def counts(self) -> tuple[int, int]:
        """Texts that wait and texts that run."""

    def submit(self, jobs: Sequence[TextJob]) -> None:
        """Take jobs in, all or none.

        Raises:
            QueueFullError: When they do not fit into the queue.
            EngineStoppedError: When the engine is stopping.
        """

    def cancel(self, jobs: Sequence[TextJob]) -> None:
        """Forget jobs."""

    def fits(self, n_tokens: int) -> bool:
        """Whether a text of so many tokens, with its prompt, could ever be computed."""


RETRY_AFTER = {"Retry-After": "1"}
"""A place in the queue is free after a few steps at the earliest, each of which takes less."""

Listener = Callable[[TextEvent], None]


class TextGroup:
    """Starts jobs and gives their events in the order in which they come.

    Args:
        engine: Computes them.
        make_jobs: Makes them, each with the listener it is given by its number.
        watch: Called with the number and every event of each.
    """

    def __init__(
        self,
        engine: TextEngine,
        make_jobs: Callable[[Callable[[int], Listener]], list[TextJob]],
        watch: Callable[[int, TextEvent], None],
    ) -> None:
        self._engine = engine
        self._watch = watch
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[tuple[int, TextEvent]] = asyncio.Queue()
        self.jobs = make_jobs(self._listener)

    def start(self) -> None:
        """Hand the jobs to the engine.

        Raises:
            ApiError: When it takes none.
        """
        try:
            self._engine.submit(self.jobs)
        except QueueFullError:
            raise ApiError(
                HTTPStatus.TOO_MANY_REQUESTS, say.TOO_BUSY, headers=RETRY_AFTER
            ) from None
        except EngineStoppedError:
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, say.SERVER_STOPPED) from None

    async def events(self) -> AsyncIterator[tuple[int, Piece | Ended]]:
        """The events of all jobs until each has ended; leaving early cancels what is left.

        Raises:
            ApiError: When a text fails.
        """
        left = len(self.jobs)
        try:
            while left:
                number, event = await self._events.get()
                self._watch(number, event)
                if isinstance(event, Failed):
                    raise _failure(event)
                left -= isinstance(event, Ended)
                yield number, event
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Forget what is not done."""
        self._engine.cancel(self.jobs)

    def _listener(self, number: int) -> Listener:
        def listen(event: TextEvent) -> None:
            # After the loop is closed nobody waits any more.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._events.put_nowait, (number, event))

        return listen


def _failure(event: Failed) -> ApiError:
    if event.is_late:
        return ApiError(HTTPStatus.GATEWAY_TIMEOUT, event.problem)
    if event.problem == say.SERVER_STOPPED:
        return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, event.problem)
    return ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, event.problem)
