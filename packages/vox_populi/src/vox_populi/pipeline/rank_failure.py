"""How one of several processes fails: the process with the cause reports it, the others are quiet.

A launcher ends all processes as soon as one of them has ended with a failure. A process that may
only be repeating what a different process says therefore waits for that before it speaks.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from vox_populi.errors import PeerLostError
from vox_populi.pipeline.rank_place import RankPlace
from vox_populi.pipeline.stopped_run import RunInterruptedError
from vox_tensor.errors import VoxError

SECONDS_FOR_THE_FIRST = 5.0
"""How long the others leave the word to the first process, which may have the same problem."""
SECONDS_TO_SAY_IT = 1.0
"""How long the others stay while the first process says that the run was stopped."""
SECONDS_FOR_THE_CAUSE = 15.0
"""How long a process that lost a peer waits for that peer's report."""


@contextmanager
def ending_with_the_others(place: RankPlace) -> Iterator[None]:
    """Let a failure wait for the launcher where another process is likely to tell more.

    Args:
        place: Which of the processes this is.
    """
    try:
        yield
    except PeerLostError as error:
        if not error.is_told:
            _wait_to_be_ended(SECONDS_FOR_THE_CAUSE)
        raise
    except RunInterruptedError:
        if not place.is_first:
            _wait_to_be_ended(SECONDS_TO_SAY_IT)
        raise
    except VoxError:
        if not place.is_first:
            _wait_to_be_ended(SECONDS_FOR_THE_FIRST)
        raise


def _wait_to_be_ended(seconds: float) -> None:
    """Wait for a launcher's SIGTERM, and end without a word when it comes."""
    if threading.current_thread() is not threading.main_thread():
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        threading.Event().wait(seconds)
    finally:
        signal.signal(signal.SIGTERM, before)
