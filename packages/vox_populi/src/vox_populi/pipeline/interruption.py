"""Stopping a run between two steps when the operator or the system requests it. No torch here."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from threading import Thread
from types import FrameType

from vox_populi.errors import PeerLostError
from vox_populi.operator_messages import run as say
from vox_populi.pipeline.stopped_run import OUT_OF_TIME, RunInterruptedError, RunOutOfTimeError

_HANGUP = getattr(signal, "SIGHUP", None)
"""Sent when the terminal is closed; Windows has none."""


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """How long a run may take."""

    seconds: int
    started: float
    """`time.monotonic()` when the run was asked for."""

    @property
    def is_reached(self) -> bool:
        """Whether all of it has passed."""
        return time.monotonic() - self.started >= self.seconds


@dataclass(slots=True)
class StopRequest:
    """Set by a signal handler, read by the training loop between two steps."""

    signal_number: int | None = None
    should_stop: Callable[[], bool] | None = None
    """The caller's own request, which counts as a SIGINT."""
    limit: TimeLimit | None = None
    is_out_of_time: bool = False
    _has_begun: bool = False

    def __call__(self) -> bool:
        """Whether the run should stop now; called before each step.

        The time limit leaves the first step alone: a job that is started again until its run is
        complete would otherwise never end if loading alone takes longer than the limit.
        """
        if self.signal_number is None and self.should_stop is not None and self.should_stop():
            self.signal_number = signal.SIGINT
        if self._has_begun and self.limit is not None and self.limit.is_reached:
            self.is_out_of_time = True
        self._has_begun = True
        return self.signal_number is not None or self.is_out_of_time

    def word(self) -> int:
        """What to tell the other processes of the run: an exit code's cause, or 0 to continue."""
        if not self():
            return 0
        return self.signal_number or OUT_OF_TIME

    def heed(self, word: int) -> None:
        """Stop for the reason that a process of the run has told all of them."""
        if word == OUT_OF_TIME:
            self.is_out_of_time = True
        elif word:
            self.signal_number = word

    def error(self, step: int, checkpoint: str | None) -> RunInterruptedError | None:
        """What a run that stopped after a step raises; `None` if nothing asked it to."""
        if self.signal_number is not None:
            return RunInterruptedError(self.signal_number, step, checkpoint)
        if self.is_out_of_time and self.limit is not None:
            return RunOutOfTimeError(self.limit.seconds, step, checkpoint)
        return None


def is_heeded(number: int) -> bool:
    """Whether a signal counts: what was ignored from the start, as by `nohup`, stays ignored."""
    return signal.getsignal(number) is not signal.SIG_IGN


@contextmanager
def stop_on_signals(
    acknowledge: Callable[[str], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    limit: TimeLimit | None = None,
) -> Iterator[StopRequest]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into a request.

    A second SIGINT or SIGTERM ends the process. SIGHUP says that the terminal was closed; shell and
    system may both send it, so that a second one, or one after another signal, says nothing new.
    Outside the main thread Python allows no handlers, so the request never comes.

    Args:
        acknowledge: Called immediately, in a separate thread, when the run will stop: a handler
            waits for the current call into torch, which can be a whole backward pass.
        should_stop: Called between steps; true stops the run as SIGINT does.
        limit: When the run stops by itself.
    """
    request = StopRequest(should_stop=should_stop, limit=limit)
    before: dict[int, signal._HANDLER] = {}

    def ask(number: int, frame: FrameType | None) -> None:
        if request.signal_number is None:
            request.signal_number = number
        # Not the system's handler: Python complains of a signal that came just before the change.
        for each in before if number != _HANGUP else ():
            signal.signal(each, ask if each == _HANGUP else _end)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, ask)
        if _HANGUP is not None and is_heeded(_HANGUP):
            before[_HANGUP] = signal.signal(_HANGUP, ask)
    except ValueError:
        before.clear()
    try:
        with ExitStack() as listening:
            if before:
                listening.enter_context(_told_at_once(acknowledge))
            yield request
    except PeerLostError as error:
        error.is_told = request.signal_number is not None
        raise
    finally:
        for held, handler in before.items():
            signal.signal(held, handler)


@contextmanager
def _told_at_once(acknowledge: Callable[[str], None] | None) -> Iterator[None]:
    """Let a thread read the numbers of signals from the interpreter's wake-up descriptor."""
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    listener = Thread(target=_listen, args=(reading, acknowledge), daemon=True)
    before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        writing.close()
        listener.join()
        reading.close()


def _listen(reading: socket.socket, acknowledge: Callable[[str], None] | None) -> None:
    stops = (signal.SIGINT, signal.SIGTERM)
    is_told = False
    while numbers := reading.recv(64):
        for number in (number for number in numbers if number in stops):
            if is_told:
                # The main thread may not come back from torch: a second one waits for no step.
                _end(number, None)
            is_told = True
            if acknowledge is not None:
                # The terminal may be gone.
                with suppress(OSError, ValueError):
                    acknowledge(say.NOTE_STOPPING)


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)
