"""`telemetry.jsonl`, one event a line, written as it happens; its writer and its reader."""

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

from vox_populi.errors import EnvironmentFailure
from vox_populi.events import Event, EventName
from vox_populi.operator_messages import environment as say
from vox_tensor.atomic_file import replaced_file
from vox_tensor.regular_file import NotRegularFileError, open_regular

logger = logging.getLogger(__name__)

MAX_LINE_BYTES = 1 << 20


class TelemetryFile:
    """A sink that appends `{"ts_ms": …, "event": …, "payload": {…}}` lines.

    A full disk or a closed file ends the record, not the run: one warning, then silence.
    """

    def __init__(self, path: Path, *, is_begun: bool = True) -> None:
        """Open the file, or hold the lines back until `begin` is called."""
        self.path = path
        self._file: FileIO | None = None
        self._held: list[bytes] | None = []
        self.lost_events = 0
        if is_begun:
            self.begin()

    def begin(self) -> None:
        """Open the file and write what was held back."""
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
        """Bring every line to the disk; before a checkpoint, so that it has all steps up to it."""
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
            "%s cannot be written (%s); the run goes on without telemetry", self.path, error
        )


def _descriptor_to_append(path: Path) -> int:
    """Open a file of our own to append to; a link is not followed and a pipe not waited for."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    descriptor = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegularFileError(path)
    return descriptor


def _finite(value: object) -> object:
    """JSON has no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True, slots=True)
class TelemetryLine:
    """A line that could be read."""

    ts_ms: int
    event: str
    payload: dict[str, object]


def read_telemetry(path: Path) -> Iterator[TelemetryLine | None]:
    """Read a telemetry file, `None` standing for a line that is no event.

    A last line without its newline is still being written and is left out.

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
            yield _parse(line)


def cut_telemetry(path: Path, last_step: int | None) -> None:
    """Drop what a run wrote after a step, so that no step stands there twice when it goes on.

    Args:
        path: The file; nothing happens when it is not there.
        last_step: The step that the run goes on from; `None` drops everything.

    Raises:
        EnvironmentFailure: When it is a link or no file, or the system refuses; it is then as it
            was.
    """
    if not os.path.lexists(path):
        return
    try:
        with open_regular(path, follow_links=False) as file, replaced_file(path) as kept:
            while line := file.readline(MAX_LINE_BYTES):
                event = _parse(line) if line.endswith(b"\n") else None
                if event is not None and last_step is not None and _step_of(event) <= last_step:
                    kept.write(line)
    except OSError as error:
        raise EnvironmentFailure(say.file_not_written(str(path), error)) from error


def _step_of(line: TelemetryLine) -> int:
    """The step an event is about; 0 for what is about the run as a whole."""
    step = line.payload.get("steps" if line.event == EventName.EPOCH_COMPLETE else "step")
    return step if isinstance(step, int) else 0


def _skip_line(file: BinaryIO) -> None:
    while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
        pass


def _parse(line: bytes) -> TelemetryLine | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    match value:
        case {"ts_ms": int(ts_ms), "event": str(event), "payload": dict(payload)}:
            return TelemetryLine(ts_ms, event, payload)
        case _:
            return None
