"""Events of a run: their names and the `Sink` protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

TELEMETRY_SCHEMA_VERSION = 1


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
