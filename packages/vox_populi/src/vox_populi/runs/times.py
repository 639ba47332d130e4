"""`run_times.json`: everything about a run that depends on the clock or the machine's load."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

SCHEMA_VERSION = 1


class RunTimes:
    """When a run began and how long its stages took."""

    def __init__(self) -> None:
        self._started_at = _now()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Time the block as a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[stage] = time.perf_counter() - start

    def as_json(self, tokens: int, peak_memory_bytes: int) -> dict[str, object]:
        """The document; `tokens` are those of the stage `train`."""
        training = self._seconds.get("train", 0.0)
        return {
            "schema_version": SCHEMA_VERSION,
            "started_at": self._started_at,
            "ended_at": _now(),
            "seconds": {stage: round(value, 3) for stage, value in self._seconds.items()},
            "tokens_per_second": round(tokens / training, 1) if training else None,
            "peak_memory_bytes": peak_memory_bytes or None,
        }


def _now() -> str:
    """UTC time in RFC 3339; `SOURCE_DATE_EPOCH` overrides the clock, as for reproducible builds."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH", "")
    seconds = float(fixed) if fixed.isdecimal() else time.time()
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
