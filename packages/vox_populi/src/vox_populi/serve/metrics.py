"""Figures of the server for Prometheus. No torch."""

from __future__ import annotations

import time
from http import HTTPStatus

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vox_populi.serve.text_group import TextEngine
from vox_populi.serve.text_job import Ended, Failed, Piece, TextEvent

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class ServerMetrics:
    """Counts requests, texts and tokens.

    Args:
        engine: Asked how many texts wait and run whenever the figures are read.
    """

    def __init__(self, engine: TextEngine) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "vox_requests", "Requests answered.", ["route", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "vox_request_seconds",
            "Time until a request was answered to its end.",
            ["route"],
            registry=registry,
            buckets=_SECONDS,
        )
        self.first_token_seconds = Histogram(
            "vox_first_token_seconds",
            "Time until a text had its first token.",
            ["model"],
            registry=registry,
            buckets=_SECONDS,
        )
        self.prompt_tokens = Counter(
            "vox_prompt_tokens", "Tokens of prompts taken in.", ["model"], registry=registry
        )
        self.new_tokens = Counter(
            "vox_new_tokens", "Tokens generated.", ["model"], registry=registry
        )
        self.texts = Counter(
            "vox_texts", "Texts that ended, by reason.", ["model", "reason"], registry=registry
        )
        waiting = Gauge("vox_texts_waiting", "Texts in the queue.", registry=registry)
        waiting.set_function(lambda: engine.counts[0])
        running = Gauge("vox_texts_running", "Texts being computed.", registry=registry)
        running.set_function(lambda: engine.counts[1])

    def exposition(self) -> bytes:
        """All figures in Prometheus's text format."""
        return generate_latest(self._registry)


class TextWatch:
    """Counts the texts of one request.

    Args:
        metrics: Where they are counted.
        model: Name of the model.
    """

    def __init__(self, metrics: ServerMetrics, model: str) -> None:
        self._metrics = metrics
        self._model = model
        self._started = time.monotonic()
        self._has_first: set[int] = set()

    def see(self, number: int, event: TextEvent) -> None:
        """Count an event of a text."""
        metrics, model = self._metrics, self._model
        if isinstance(event, Piece):
            metrics.new_tokens.labels(model).inc()
            if number not in self._has_first:
                self._has_first.add(number)
                waited = time.monotonic() - self._started
                metrics.first_token_seconds.labels(model).observe(waited)
        elif isinstance(event, Ended):
            metrics.texts.labels(model, event.stop_reason).inc()
        elif isinstance(event, Failed):
            metrics.texts.labels(model, "late" if event.is_late else "failed").inc()


class MetricsLayer:
    """Counts requests by route and status, around an application.

    Args:
        app: The application.
        metrics: Where they are counted.
        routes: Paths that are counted by name, so that nobody can invent more.
    """

    def __init__(self, app: ASGIApp, metrics: ServerMetrics, routes: frozenset[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        route = scope["path"] if scope["path"] in self._routes else "other"
        started, status = time.monotonic(), int(HTTPStatus.INTERNAL_SERVER_ERROR)

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.request_seconds.labels(route).observe(time.monotonic() - started)
