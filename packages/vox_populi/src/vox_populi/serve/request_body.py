"""Reading the body of a request: bounded in size, time and depth. No torch."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request

from vox_populi.errors import DataError
from vox_populi.operator_messages import serving as say
from vox_populi.serve.api_error import ApiError, bad_request
from vox_tensor.strict_json import parse_json

BODY_SECONDS = 30.0
"""Time in which a body must arrive."""


async def read_body(request: Request, most_bytes: int) -> Mapping[str, object]:
    """The JSON object of a request.

    Raises:
        ApiError: For a body that is too large, too slow, or not one JSON object in UTF-8.
        ClientDisconnect: When the client is gone.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, say.BODY_NOT_JSON_TYPE)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            data = await _received(request, most_bytes)
    except TimeoutError:
        raise ApiError(HTTPStatus.REQUEST_TIMEOUT, say.BODY_TOO_SLOW) from None
    try:
        value = parse_json(data.decode("utf-8"), "")
    except UnicodeDecodeError:
        raise bad_request(say.body_not_usable("it is not UTF-8.")) from None
    except DataError as error:
        raise bad_request(say.body_not_usable(error.problems[0].what)) from None
    if not isinstance(value, dict):
        raise bad_request(say.body_not_usable("it is not a JSON object."))
    return value


async def _received(request: Request, most_bytes: int) -> bytes:
    too_large = ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, say.body_too_large(most_bytes))
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared[:20]) > most_bytes:
        raise too_large
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most_bytes:
            raise too_large
        parts.append(part)
    return b"".join(parts)


__all__ = ["BODY_SECONDS", "ClientDisconnect", "read_body"]
