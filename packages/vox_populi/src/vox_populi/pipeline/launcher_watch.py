"""Stopping a process of a run whose launcher is gone. No torch.

A launcher that is asked to stop passes that on. One that is killed cannot, and its processes would
compute on with nobody to end them.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from threading import Thread

from vox_populi.operator_messages import ranks as say
from vox_populi.pipeline.launch import LAUNCHER_VARIABLE, seconds_to_stop

SECONDS_BETWEEN_LOOKS = 0.5


def stop_without_launcher(tell: Callable[[str], None] | None) -> None:
    """Watch the launcher in a separate thread; when it is gone, stop this process.

    It is asked as SIGTERM asks: it finishes the step and writes a checkpoint, like all others of
    the run. If that takes too long, it ends.

    Args:
        tell: Called with a message when the launcher is gone, in that thread.

    Raises:
        EnvironmentFailure: When the variable for the time to stop is not a number.
    """
    if os.name != "posix":
        # Elsewhere a process keeps the number of a parent that is gone.
        return
    # A launcher other than ours says nothing of itself: it is who started this process.
    named = os.environ.get(LAUNCHER_VARIABLE, "")
    launcher = int(named) if named.isdecimal() else os.getppid()
    seconds = seconds_to_stop()
    Thread(target=_watch, args=(launcher, seconds, tell), daemon=True).start()


def _watch(launcher: int, seconds: float, tell: Callable[[str], None] | None) -> None:
    while os.getppid() == launcher:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    if tell is not None:
        tell(say.NOTE_LAUNCHER_GONE)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(seconds)
    os._exit(128 + signal.SIGTERM)
