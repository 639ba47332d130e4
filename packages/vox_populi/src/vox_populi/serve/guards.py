"""What is checked before every route: the host's name and the key. No torch."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vox_populi.operator_messages import serving as say
from vox_populi.serve.address_text import is_loopback
from vox_populi.serve.api_error import ApiError

PAGE_FILES: Mapping[str, tuple[str, str]] = {
    "/": ("chat.html", "text/html"),
    "/chat.css": ("chat.css", "text/css"),
    "/chat.js": ("chat.js", "text/javascript"),
    "/chat.svg": ("chat.svg", "image/svg+xml"),
}
"""Files of the chat page and their types, by route."""
OPEN_PATHS = frozenset({"/healthz", *PAGE_FILES})
"""Routes without a key: they tell nothing and compute nothing. The page asks for the key."""
_NO_SNIFFING = (b"x-content-type-options", b"nosniff")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may ask."""

    host: str
    """The address that the server was told to listen on."""
    key: str | None = None
    """The token that clients must send; never shown."""

    def check(self, path: str, headers: Headers) -> None:
        """Let a request pass or not.

        Raises:
            ApiError: For a foreign host's name, or without the key.
        """
        if self.key is None:
            self._check_host(headers.get("host", ""))
        elif path not in OPEN_PATHS and not self._has_key(headers.get("authorization", "")):
            challenge = {"WWW-Authenticate": "Bearer"}
            raise ApiError(
                HTTPStatus.UNAUTHORIZED, say.KEY_WRONG, code="invalid_api_key", headers=challenge
            )

    def _check_host(self, header: str) -> None:
        """Keep out a page whose own name was pointed at this machine; there is no key."""
        name = _without_port(header)
        if not is_loopback(name) and name.lower() != self.host.lower():
            raise ApiError(HTTPStatus.FORBIDDEN, say.HOST_NOT_OURS)

    def _has_key(self, header: str) -> bool:
        scheme, _, key = header.partition(" ")
        expected = (self.key or "").encode()
        is_same = hmac.compare_digest(key.strip().encode("utf-8", "replace"), expected)
        return scheme.lower() == "bearer" and is_same


class AccessGuard:
    """The check as a layer around an application."""

    def __init__(self, app: ASGIApp, access: Access, allowed_origins: Collection[str] = ()) -> None:
        self._app = app
        self._access = access
        self._has_origins = bool(allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer in place of the application if the request may not pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            # A browser asks whether it may ask without the key, and must be answered.
            if not (self._has_origins and scope["method"] == "OPTIONS"):
                self._access.check(scope["path"], Headers(scope=scope))
        except ApiError as error:
            answer = JSONResponse(error.as_json(), error.status, headers=dict(error.headers))
            await answer(scope, receive, _with_headers(send))
            return
        await self._app(scope, receive, _with_headers(send))


def _with_headers(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), _NO_SNIFFING]
        await send(message)

    return with_headers


def _without_port(header: str) -> str:
    if header.startswith("["):
        return header.partition("]")[0].strip("[]")
    return header.rpartition(":")[0] if header.count(":") == 1 else header
