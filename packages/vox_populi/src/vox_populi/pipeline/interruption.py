"""Stopping a run at a step border when the operator or the system asks for it. No torch here."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from vox_populi import operator_messages as say
from vox_populi.errors import RunFailedError


class RunInterruptedError(RunFailedError):
    """A run that was asked to stop and did."""

    def __init__(self, signal_number: int, step: int, checkpoint: str | None = None) -> None:
        name = signal.Signals(signal_number).name
        super().__init__(say.run_interrupted(name, step, checkpoint))
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """What a shell reports for a process that this signal ended: 130 or 143."""
        return 128 + self.signal_number


@dataclass(slots=True)
class StopRequest:
    """Set by a signal handler, read by the training loop between two steps."""

    signal_number: int | None = None

    def __call__(self) -> bool:
        """Whether the run should stop at this border."""
        return self.signal_number is not None


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM into a request; the second one ends the process.

    Outside the main thread Python allows no handlers: the request then never comes.
    """
    request = StopRequest()
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
        yield request
    finally:
        for held, handler in before.items():
            signal.signal(held, handler)
