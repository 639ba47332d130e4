"""Asking a server over HTTP, within bounds of time and size, and nobody else. No torch.

Redirects are not followed, proxies of the environment are not used, and the key goes only to the
address that was given. What a server says is data: it is read as strict JSON and never trusted.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from threading import Event, Timer

from vox_populi.errors import DataError, EnvironmentFailure
from vox_populi.evals.server_address import ServerAddress
from vox_populi.operator_messages import check_served as say
from vox_tensor.errors import VoxError, cause
from vox_tensor.strict_json import parse_json

Json = dict[str, object]

MOST_BYTES = 16 * 2**20
"""Largest answer that is read."""
_PIECE = 64 * 1024
_MOST_LINE = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerKey:
    """A bearer token and where it comes from."""

    variable: str
    token: str | None = field(repr=False)


class ServerClient:
    """A server that requests are sent to, each over a connection of its own.

    Args:
        address: Where it listens.
        key: Sent with each request, if there is one.
        seconds: Time for a whole answer.
    """

    def __init__(self, address: ServerAddress, key: ServerKey, seconds: float) -> None:
        self._address = address
        self._key = key
        self._seconds = seconds

    @property
    def url(self) -> str:
        """The server's address."""
        return self._address.url

    def ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Json:
        """What the server answers, a JSON object.

        Args:
            method: `GET` or `POST`.
            path: From the server's root, such as `/v1/models`.
            body: Sent as JSON.

        Raises:
            EnvironmentFailure: When it cannot be reached, refuses, redirects, is too slow, or
                answers with too much or in another form.
        """
        with self._answer(method, path, body) as answer:
            data = bytearray()
            while piece := answer.read1(_PIECE):
                data += piece
                if len(data) > MOST_BYTES:
                    raise EnvironmentFailure(say.answer_too_large(MOST_BYTES).at(self.url))
        return self._object(bytes(data))

    def events(self, path: str, body: Mapping[str, object]) -> Iterator[Json]:
        """The events of a streamed answer, as they come, up to `[DONE]`.

        Raises:
            EnvironmentFailure: As for `ask`.
        """
        with self._answer("POST", path, body) as answer:
            size = 0
            while line := answer.readline(_MOST_LINE):
                size += len(line)
                if size > MOST_BYTES or len(line) == _MOST_LINE:
                    raise EnvironmentFailure(say.answer_too_large(MOST_BYTES).at(self.url))
                data = line.removeprefix(b"data:").strip()
                if not line.startswith(b"data:") or not data:
                    continue
                if data == b"[DONE]":
                    return
                event = self._object(data)
                if "error" in event:
                    raise EnvironmentFailure(say.server_refuses(200, _message(event)).at(self.url))
                yield event

    def malformed(self, reason: str) -> EnvironmentFailure:
        """The error for an answer that is JSON, but not as it should be."""
        return EnvironmentFailure(say.answer_malformed(reason).at(self.url))

    @contextmanager
    def _answer(
        self, method: str, path: str, body: Mapping[str, object] | None
    ) -> Iterator[HTTPResponse]:
        """An answer whose status is good; every failure while it is read has its own message."""
        connection = self._connection()
        is_late = Event()
        try:
            connection.connect()
            with (
                _watched(connection.sock, self._seconds, is_late),
                closing(self._sent(connection, method, path, body)) as answer,
            ):
                self._require_good(answer)
                yield answer
            if is_late.is_set():
                raise EnvironmentFailure(say.server_too_slow(self._seconds).at(self.url))
        except VoxError:
            # What was cut off is not in any form.
            if is_late.is_set():
                raise EnvironmentFailure(say.server_too_slow(self._seconds).at(self.url)) from None
            raise
        except (OSError, HTTPException) as error:
            if is_late.is_set() or isinstance(error, TimeoutError):
                raise EnvironmentFailure(say.server_too_slow(self._seconds).at(self.url)) from None
            reason = cause(error) if isinstance(error, OSError) else type(error).__name__
            raise EnvironmentFailure(say.server_unreachable(reason).at(self.url)) from None
        finally:
            connection.close()

    def _connection(self) -> HTTPConnection:
        kind = HTTPSConnection if self._address.is_encrypted else HTTPConnection
        return kind(self._address.host, self._address.port, timeout=self._seconds)

    def _sent(
        self,
        connection: HTTPConnection,
        method: str,
        path: str,
        body: Mapping[str, object] | None,
    ) -> HTTPResponse:
        headers = {"Accept": "application/json, text/event-stream"}
        if self._key.token is not None:
            headers["Authorization"] = f"Bearer {self._key.token}"
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        connection.request(method, self._address.prefix + path, data, headers)
        return connection.getresponse()

    def _require_good(self, answer: HTTPResponse) -> None:
        status = answer.status
        if status == HTTPStatus.OK:
            return
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            place = answer.headers.get("Location", "nowhere")
            raise EnvironmentFailure(say.server_redirects(status, place).at(self.url))
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            was_sent = self._key.token is not None
            raise EnvironmentFailure(
                say.server_wants_key(self.url, status, self._key.variable, was_sent=was_sent)
            )
        message = ""
        with suppress(VoxError):
            message = _message(self._object(answer.read(_PIECE)))
        raise RefusedError(say.server_refuses(status, message).at(self.url))

    def _object(self, data: bytes) -> Json:
        try:
            found = parse_json(data.decode("utf-8"), self.url)
        except (UnicodeDecodeError, DataError):
            found = None
        if not isinstance(found, dict):
            reason = "it is not a JSON object in UTF-8"
            raise self.malformed(reason)
        return found


class RefusedError(EnvironmentFailure):
    """The server does not know a route or takes a request for wrong."""


@contextmanager
def _watched(connection: socket.socket, seconds: float, is_late: Event) -> Iterator[None]:
    """A block at whose deadline the connection ends, whatever trickles in."""

    def cut() -> None:
        is_late.set()
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    watch = Timer(seconds, cut)
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        watch.cancel()


def _message(answer: Json) -> str:
    """The sentence of an error, wherever a server puts it."""
    error = answer.get("error", answer)
    found = error.get("message", "") if isinstance(error, dict) else error
    return found if isinstance(found, str) else ""
