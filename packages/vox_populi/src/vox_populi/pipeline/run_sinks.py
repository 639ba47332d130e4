"""The sinks of a run's events: telemetry, which has them all, and the caller's. No torch."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from vox_populi.events import Event, Sink

logger = logging.getLogger(__name__)


class SinkGroup:
    """Passes each event to all sinks; one that fails is skipped from then on."""

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
