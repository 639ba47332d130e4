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

    Every step carries the totals so far, so what is left out is not lost.
    """

    def __init__(self, sink: Sink, every: int) -> None:
        self._sink = sink
        self._every = every
        self._held: Event | None = None

    def emit(self, event: Event) -> None:
        """Take an event; anything but a step goes through at once."""
        if event.name is not EventName.STEP:
            self._release()
            self._sink.emit(event)
            return
        self._held = event
        # By the number of the step, so that a run that goes on keeps its rhythm.
        step = event.payload.get("step")
        if step == 1 or (isinstance(step, int) and step % self._every == 0):
            self._release()

    def _release(self) -> None:
        if self._held is not None:
            self._sink.emit(self._held)
            self._held = None
