"""Server-sent events that end when the client is gone, too slow, or the text fails. No torch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from http import HTTPStatus

from starlette.responses import StreamingResponse
from starlette.types import Send

from vox_populi.operator_messages import serving as say
from vox_populi.serve.api_error import ApiError, error_json

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_DONE = b"data: [DONE]\n\n"


class EventStream(StreamingResponse):
    """A streamed answer.

    Args:
        chunks: Objects to send; an `ApiError` becomes the last event.
        timeout_secs: Time after which a reader that does not read is given up.
        headers: More headers.
    """

    def __init__(
        self,
        chunks: AsyncIterator[Mapping[str, object]],
        timeout_secs: float,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(
            _as_events(chunks), media_type="text/event-stream", headers={**_HEADERS, **headers}
        )
        self._timeout_secs = timeout_secs

    async def stream_response(self, send: Send) -> None:
        """Send everything, unless the reader takes longer than an answer may."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_secs):
                await super().stream_response(send)


async def _as_events(chunks: AsyncIterator[Mapping[str, object]]) -> AsyncIterator[bytes]:
    try:
        async for chunk in chunks:
            yield _event(chunk)
    except ApiError as error:
        yield _event(error.as_json())
    except AssertionError:
        yield _event(error_json(HTTPStatus.INTERNAL_SERVER_ERROR, say.UNFORESEEN))
        raise
    yield _DONE


def _event(value: Mapping[str, object]) -> bytes:
    # Lone surrogates cannot be in it: text is decoded from bytes.
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()
