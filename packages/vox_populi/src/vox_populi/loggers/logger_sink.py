"""A logger as a sink of events: on a thread of its own, so that it can neither stop nor slow a run.

A logger is another program's code, which may raise anything or wait for a network. Whatever it
does, the run continues, and one warning says that the logger does not.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from vox_populi.errors import first_line
from vox_populi.events import Event, EventName
from vox_populi.loggers.logged_values import values_of
from vox_populi.loggers.logger_run import LoggerRun
from vox_populi.operator_messages import loggers as say

logger = logging.getLogger(__name__)

MOST_WAITING: Final = 100_000
"""Events that wait for a slow logger; those beyond are left out."""
SECONDS_TO_FINISH: Final = 60.0


@dataclass(frozen=True, slots=True)
class _Values:
    step: int
    values: Mapping[str, float]
    time_seconds: float


class LoggerSink:
    """Passes values on to a logger.

    Args:
        name: The logger's name in messages.
        start: Starts the logger's run; called on the logger's thread.
        on_start: Receives the logger's id of the run, on that thread too.
        seconds_to_finish: How long `close` waits for a slow logger.
    """

    def __init__(
        self,
        name: str,
        start: Callable[[], LoggerRun],
        on_start: Callable[[str], None],
        seconds_to_finish: float = SECONDS_TO_FINISH,
    ) -> None:
        self._name, self._start, self._on_start = name, start, on_start
        self._seconds_to_finish = seconds_to_finish
        self._waiting: queue.Queue[_Values | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._work, name=f"logger {name}", daemon=True)
        self._is_complete = False
        self._is_closed = False
        self.has_failed = False

    def begin(self) -> None:
        """Start the logger; events before this wait for it."""
        self._thread.start()

    def emit(self, event: Event) -> None:
        """Pass the numbers of an event on."""
        self._is_complete = self._is_complete or event.name is EventName.TRAIN_COMPLETE
        values, step = values_of(event), event.payload.get("step")
        if not values or not isinstance(step, int) or self.has_failed:
            return
        try:
            self._waiting.put_nowait(_Values(step, values, time.time()))
        except queue.Full:
            self._give_up(say.logger_too_slow(self._name, MOST_WAITING))

    def close(self) -> None:
        """Let the logger write what is left, within a time limit; safe to call twice."""
        if self._is_closed or not self._thread.ident:
            return
        self._is_closed = True
        if not self.has_failed:
            self._waiting.put(None)
        self._thread.join(self._seconds_to_finish)
        if self._thread.is_alive() and not self.has_failed:
            self._give_up(say.logger_not_done(self._name, self._seconds_to_finish))

    def _work(self) -> None:
        try:
            run = self._start()
            self._on_start(run.run_id)
            while (item := self._waiting.get()) is not None:
                run.log(item.step, item.values, item.time_seconds)
            run.finish(is_complete=self._is_complete)
        except Exception as error:  # noqa: BLE001 - another program's, which may raise anything
            kind = type(error).__name__
            self._give_up(say.logger_failed(self._name, f"{kind}: {first_line(error)}"))

    def _give_up(self, warning: str) -> None:
        if not self.has_failed:
            self.has_failed = True
            logger.warning("%s", warning)
