"""Writer and reader of `telemetry.jsonl`, with one event per line, written as it happens."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from vox_populi.events import Event, EventName
from vox_populi.files.whole_file import writing
from vox_tensor.atomic_file import replaced_file
from vox_tensor.regular_file import NotRegularFileError, open_regular

logger = logging.getLogger(__name__)

MAX_LINE_BYTES = 1 << 20


class TelemetryFile:
    """A sink that appends `{"ts_ms": …, "event": …, "payload": {…}}` lines.

    A full disk or a closed file ends the record, not the run; there is one warning.
    """

    def __init__(self, path: Path, *, is_begun: bool = True) -> None:
        """Open the file, or buffer the lines until `begin` is called."""
        self.path = path
        self._file: FileIO | None = None
        self._held: list[bytes] | None = []
        self.lost_events = 0
        if is_begun:
            self.begin()

    def begin(self) -> None:
        """Open the file and write the buffered lines."""
        held, self._held = self._held or [], None
        try:
            # Unbuffered, one write a line: a reader that follows sees whole lines.
            self._file = FileIO(_descriptor_to_append(self.path), "ab")
        except OSError as error:
            self._give_up(error)
        for text in held:
            self._write(text)

    def emit(self, event: Event) -> None:
        """Append one line."""
        payload = {name: _finite(value) for name, value in event.payload.items()}
        line = {"ts_ms": time.time_ns() // 1_000_000, "event": event.name, "payload": payload}
        try:
            text = json.dumps(line, ensure_ascii=False, default=str).encode() + b"\n"
        except ValueError as error:
            self.lost_events += 1
            self._give_up(error)
            return
        if self._held is None:
            self._write(text)
        else:
            self._held.append(text)

    def _write(self, text: bytes) -> None:
        if self._file is None:
            self.lost_events += 1
            return
        try:
            if self._file.write(text) != len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self.lost_events += 1
            self._give_up(error)

    def sync(self) -> None:
        """Flush every line to disk; before a checkpoint, so that all steps up to it are there."""
        try:
            if self._file is not None:
                os.fsync(self._file.fileno())
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """Close the file; safe to call twice."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _give_up(self, error: Exception) -> None:
        with suppress(OSError):
            self.close()
        logger.warning(
            "%s cannot be written (%s); the run continues without telemetry", self.path, error
        )


def _descriptor_to_append(path: Path) -> int:
    """Open one of our files for appending, without following a link or waiting for a pipe."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    descriptor = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegularFileError(path)
    return descriptor


def _finite(value: object) -> object:
    """A finite number or `None`, since JSON has no NaN or infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True, slots=True)
class TelemetryLine:
    """A line that could be read."""

    ts_ms: int
    event: str
    payload: dict[str, object]


def read_telemetry(path: Path) -> Iterator[TelemetryLine | None]:
    """Read a telemetry file, yielding `None` for a line that is not an event.

    A last line without its newline is still being written and is skipped.

    Raises:
        OSError: When the file cannot be opened.
    """
    with open_regular(path) as file:
        while line := file.readline(MAX_LINE_BYTES):
            if not line.endswith(b"\n"):
                if len(line) < MAX_LINE_BYTES:
                    return
                _skip_line(file)
                yield None
                continue
            yield parse_line(line)


def cut_telemetry(path: Path, last_step: int | None) -> None:
    """Drop the lines after a step, so that no step occurs twice when the run is resumed.

    Args:
        path: The file; nothing happens if it does not exist.
        last_step: The step from which the run resumes; `None` drops everything.

    Raises:
        EnvironmentFailure: When it is a link or not a file, or the system refuses; it is then
            unchanged.
    """
    if not os.path.lexists(path):
        return
    with (
        writing(path),
        open_regular(path, follow_links=False) as file,
        replaced_file(path) as kept,
    ):
        while line := file.readline(MAX_LINE_BYTES):
            event = parse_line(line) if line.endswith(b"\n") else None
            if event is not None and last_step is not None and _step_of(event) <= last_step:
                kept.write(line)


def _step_of(line: TelemetryLine) -> int:
    """The step of an event; 0 for events of the whole run."""
    step = line.payload.get("steps" if line.event == EventName.EPOCH_COMPLETE else "step")
    return step if isinstance(step, int) else 0


def _skip_line(file: BinaryIO) -> None:
    while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
        pass


def parse_line(line: bytes) -> TelemetryLine | None:
    """One whole line as an event; `None` if it is not one."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    match value:
        case {"ts_ms": int(ts_ms), "event": str(event), "payload": dict(payload)}:
            return TelemetryLine(ts_ms, event, payload)
        case _:
            return None
