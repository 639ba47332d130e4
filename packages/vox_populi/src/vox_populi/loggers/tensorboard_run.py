"""TensorBoard: event files through the records of the `tensorboard` package."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from vox_populi import extras
from vox_populi.loggers.logger_run import LoggedRun

_FLUSH_SECONDS = 5.0


class TensorboardRun:
    """An event file; its name has no host, unlike the package's own."""

    def __init__(self, run: LoggedRun) -> None:
        records = extras.load("tensorboard.summary.writer.record_writer")
        self._events: Any = extras.load("tensorboard.compat.proto.event_pb2")
        self._summaries: Any = extras.load("tensorboard.compat.proto.summary_pb2")
        self.run_id = run.name
        now = time.time()
        path = run.folder / f"events.out.tfevents.{int(now)}.{run.first_step}.vox"
        run.folder.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        self._writer = records.RecordWriter(self._file)
        self._write(self._events.Event(wall_time=now, file_version="brain.Event:2"))
        # Readers drop what an earlier session wrote of the steps that are repeated.
        log = self._events.SessionLog(status=self._events.SessionLog.START)
        first = self._events.Event(wall_time=now, step=run.first_step + 1, session_log=log)
        self._write(first)
        self._flushed_at = now

    def log(self, step: int, values: Mapping[str, float], time_seconds: float) -> None:
        """Append the values of a step."""
        make = self._summaries.Summary.Value
        listed = [make(tag=name, simple_value=value) for name, value in values.items()]
        summary = self._summaries.Summary(value=listed)
        self._write(self._events.Event(wall_time=time_seconds, step=step, summary=summary))
        if time_seconds - self._flushed_at >= _FLUSH_SECONDS:
            self._flushed_at = time_seconds
            self._writer.flush()

    def finish(self, *, is_complete: bool) -> None:
        """Close the file; it has no word for the outcome."""
        self._writer.close()

    def _write(self, event: Any) -> None:
        self._writer.write(event.SerializeToString())
