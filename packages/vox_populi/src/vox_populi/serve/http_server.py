"""The HTTP server: listening, stopping, and connections that never ask anything. No torch."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from vox_populi.errors import EnvironmentFailure
from vox_populi.operator_messages import serving as say
from vox_tensor.errors import cause

MOST_CONNECTIONS = 512
HEAD_SECONDS = 20
"""Time in which a connection must have sent the head of its first request."""
_BACKLOG = 128


class PatientProtocol(H11Protocol):
    """A connection that is closed unless it sends the head of a request in time."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own annotation
        """Start the clock."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._head_timer.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        # Uvicorn declares it as always there, and sets it with the first request.
        has_asked = getattr(self, "cycle", None) is not None
        if not has_asked and not self.transport.is_closing():
            self.transport.close()


class StoppableServer(uvicorn.Server):
    """A server that asks between ticks whether it should stop, and handles no signals itself."""

    def __init__(self, config: uvicorn.Config, should_stop: Callable[[], bool]) -> None:
        super().__init__(config)
        self._should_stop = should_stop

    async def on_tick(self, counter: int) -> bool:
        """Uvicorn's tick, ten times a second."""
        if self._should_stop():
            self.should_exit = True
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the program."""
        yield


def open_socket(host: str, port: int) -> socket.socket:
    """Listen on an address.

    Raises:
        EnvironmentFailure: When the system does not let us.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listening.close()
        reason = cause(error) if isinstance(error, OSError) else str(error)
        raise EnvironmentFailure(say.address_not_usable(host, port, reason)) from None
    return listening


def serve_until(
    app: ASGIApp, listening: socket.socket, should_stop: Callable[[], bool], grace_seconds: int
) -> None:
    """Serve until `should_stop`; then running requests have some time to finish."""
    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=grace_seconds,
        h11_max_incomplete_event_size=64 * 1024,
    )
    with suppress(asyncio.CancelledError):
        StoppableServer(config, should_stop).run(sockets=[listening])
