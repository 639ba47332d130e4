"""Ending a process of a run that somebody stopped and nobody continues. No torch.

All others wait for such a process (SIGSTOP, or SIGTTIN of a terminal) in their next exchange, as
they would for one that computes: nothing else tells them.
"""

from __future__ import annotations

import os
import signal
import time
from threading import Thread

SECONDS_BETWEEN_LOOKS = 0.5
LOOKS_UNTIL_KILLED = 40
"""How often in a row a process is found stopped. Looks are counted, not seconds: where everything
is stopped, this process too, nobody looks."""


class StoppedWatch:
    """Looks after the processes that this one has started.

    Attributes:
        killed: Those that were stopped for too long, and therefore ended.
    """

    def __init__(self) -> None:
        self.killed: list[int] = []
        self._looks: dict[int, int] = {}

    def start(self) -> None:
        """Look in a separate thread, as long as this process lives."""
        if hasattr(os, "waitid"):
            Thread(target=self._watch, daemon=True).start()

    def look(self) -> None:
        """Look once."""
        pid = _stopped_child()
        self._looks = {} if pid is None else {pid: self._looks.get(pid, 0) + 1}
        if pid is not None and self._looks[pid] >= LOOKS_UNTIL_KILLED:
            self.killed.append(pid)
            os.kill(pid, signal.SIGKILL)

    def _watch(self) -> None:
        while True:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            self.look()


def _stopped_child() -> int | None:
    """A process that this one started and that is stopped; its state is left for others to ask."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return found.si_pid if found is not None and found.si_pid else None
