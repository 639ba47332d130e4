"""Stopping a run between two steps when the operator or the system requests it. No torch here."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Thread
from types import FrameType

from vox_populi.errors import RunFailedError
from vox_populi.operator_messages import run as say


class RunInterruptedError(RunFailedError):
    """A run that was asked to stop and did."""

    def __init__(self, signal_number: int, step: int, checkpoint: str | None = None) -> None:
        name = signal.Signals(signal_number).name
        super().__init__(say.run_interrupted(name, step, checkpoint))
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """A shell's exit code for a process ended by this signal: 130 or 143."""
        return 128 + self.signal_number


@dataclass(slots=True)
class StopRequest:
    """Set by a signal handler, read by the training loop between two steps."""

    signal_number: int | None = None
    should_stop: Callable[[], bool] | None = None
    """The caller's own request, which counts as a SIGINT."""

    def __call__(self) -> bool:
        """Whether the run should stop now."""
        if self.signal_number is None and self.should_stop is not None and self.should_stop():
            self.signal_number = signal.SIGINT
        return self.signal_number is not None


@contextmanager
def stop_on_signals(
    acknowledge: Callable[[str], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM into a request; the second one ends the process.

    Outside the main thread Python allows no handlers, so the request never comes.

    Args:
        acknowledge: Called immediately, in a separate thread, when the run will stop: a handler
            waits for the current call into torch, which can be a whole backward pass.
        should_stop: Called between steps; true stops the run as SIGINT does.
    """
    request = StopRequest(should_stop=should_stop)
    before: dict[int, signal._HANDLER] = {}

    def ask(number: int, frame: FrameType | None) -> None:
        request.signal_number = number
        # A second signal of either kind must not wait for a step that hangs.
        for each in before:
            signal.signal(each, signal.SIG_DFL)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, ask)
    except ValueError:
        before.clear()
    try:
        with ExitStack() as listening:
            if before and acknowledge is not None:
                listening.enter_context(_told_at_once(acknowledge))
            yield request
    finally:
        for held, handler in before.items():
            signal.signal(held, handler)


@contextmanager
def _told_at_once(acknowledge: Callable[[str], None]) -> Iterator[None]:
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


def _listen(reading: socket.socket, acknowledge: Callable[[str], None]) -> None:
    stops = (signal.SIGINT, signal.SIGTERM)
    is_told = False
    while numbers := reading.recv(64):
        for number in (number for number in numbers if number in stops):
            if is_told:
                # The main thread has not come back from torch to put the system's handler in place.
                os._exit(128 + number)
            is_told = True
            acknowledge(say.note_stopping())
