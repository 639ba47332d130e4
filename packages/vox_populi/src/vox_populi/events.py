"""Events of a run: their names, and the sinks that they go to."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

TELEMETRY_SCHEMA_VERSION = 1

logger = logging.getLogger(__name__)


class EventName(StrEnum):
    """The `event` field of a telemetry line (the source system's names)."""

    TRAIN_START = "train_start"
    TRAIN_RESUMED = "train_resumed"
    STEP = "step"
    EVALUATION = "evaluation"
    EPOCH_COMPLETE = "epoch_complete"
    CHECKPOINT_SAVED = "checkpoint_saved"
    EARLY_STOP = "early_stop"
    TRAIN_COMPLETE = "train_complete"
    TRAIN_FAILED = "train_failed"
    GPU_FALLBACK = "gpu_fallback"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened; `payload` is JSON-serialisable."""

    name: EventName
    payload: Mapping[str, object]


class Sink(Protocol):
    """A receiver of events; a sink that fails must not stop a run."""

    def emit(self, event: Event) -> None:
        """Record or show one event."""
        ...


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
                logger.warning("%s takes no more events (%s); the run continues", name, error)
