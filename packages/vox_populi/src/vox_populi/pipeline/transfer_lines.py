"""A transfer from or to the hub in lines of text: for a log, a notebook, a pipe."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from vox_populi.hub.transfer import UNWATCHED, TransferWatcher
from vox_populi.operator_messages.wording import gib
from vox_populi.pipeline.progress_lines import clock_text
from vox_tensor.visible_text import one_line

LINE_SECONDS = 30.0
"""Between two lines of a transfer."""
_SECONDS_KNOWN = 2.0
"""Before that, a rate is mostly chance."""


class TransferLines:
    """Writes notes, and bytes done of all every half minute and at the end.

    Args:
        write: Gets each line.
        clock: Seconds that only increase.
    """

    def __init__(
        self, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write = write
        self._clock = clock
        self._started: float | None = None
        self._written_at = 0.0

    def note(self, text: str) -> None:
        """Write something once."""
        with suppress(OSError, ValueError):
            self._write(text)

    def progress(self, done: int, total: int) -> None:
        """Bytes so far, and all of them."""
        now = self._clock()
        if self._started is None:
            self._started = self._written_at = now
        if now - self._written_at >= LINE_SECONDS or done >= total:
            self._written_at = now
            self.note(transfer_line(done, total, now - self._started))

    def close(self) -> None:
        """Forget the transfer, so that the next one starts at zero."""
        self._started = None


def download_lines(progress: Callable[[str], object] | None) -> TransferWatcher:
    """A watcher that writes each line as a terminal can show it; `None` is silence."""
    if progress is None:
        return UNWATCHED
    write = progress
    return TransferLines(lambda line: write(one_line(line)))


def transfer_line(done: int, total: int, seconds: float) -> str:
    """How much is done, how fast, and how long the rest will take."""
    share = f"{100 * done // max(total, 1)}%"
    parts = [f"{share:>4} {gib(done)} of {gib(total)}"]
    if seconds >= _SECONDS_KNOWN and done:
        parts.append(f"{gib(round(done / seconds))}/s")
        if done < total:
            parts.append(f"{clock_text((total - done) * seconds / done)} left")
    return "  ".join(parts)
