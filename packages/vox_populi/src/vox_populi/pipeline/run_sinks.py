"""Where a run's events go: telemetry with every n-th step, and the caller's sinks. No torch."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from vox_populi.events import Event, EventName, Sink

logger = logging.getLogger(__name__)


class SinkGroup:
    """Hands each event to all sinks; one that fails is left out from then on."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = list(sinks)

    def emit(self, event: Event) -> None:
        """Pass an event on."""
        for sink in tuple(self._sinks):
            try:
                sink.emit(event)
            except (OSError, ValueError, RuntimeError) as error:
                self._sinks.remove(sink)
                name = type(sink).__name__
                logger.warning("%s takes no more events (%s); the run goes on", name, error)


class EveryNthStep:
    """Passes on the first step, every n-th and the last before any other event.

    Steps that are passed on carry the totals so far, so what is left out is not lost.
    """

    def __init__(self, sink: Sink, every: int) -> None:
        self._sink = sink
        self._every = every
        self._seen = 0
        self._supervised = 0
        self._tokens = 0
        self._held: Event | None = None

    def emit(self, event: Event) -> None:
        """Take an event; anything but a step goes through at once."""
        if event.name is not EventName.STEP:
            self._release()
            self._sink.emit(event)
            return
        self._supervised += _count(event.payload.get("valid_tokens"))
        self._tokens += _count(event.payload.get("theoretical_tokens"))
        totals = {"supervised_tokens_total": self._supervised, "tokens_total": self._tokens}
        self._held = Event(event.name, {**event.payload, **totals})
        self._seen += 1
        if self._seen == 1 or self._seen % self._every == 0:
            self._release()

    def _release(self) -> None:
        if self._held is not None:
            self._sink.emit(self._held)
            self._held = None


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0
