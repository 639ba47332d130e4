"""Display of a transfer from or to the hub: a redrawn line on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from vox_cli.console import Console
from vox_cli.terminal import STDERR, Channel
from vox_cli.text_width import cut
from vox_populi.pipeline.transfer_lines import LINE_SECONDS, transfer_line

_REDRAW_SECONDS = 0.1
_FREE_COLUMNS = 3
"""A terminal wraps when its last column is written, and shows `^C` where Ctrl-C is pressed."""


class TransferView:
    """Shows notes, and bytes done of all."""

    def __init__(
        self,
        console: Console,
        channel: Channel = STDERR,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._channel = channel
        self._clock = clock
        self._has_bar = console.has_bar(channel)
        self._started: float | None = None
        self._shown_at: float | None = None

    def note(self, text: str) -> None:
        """Say something once."""
        self.close()
        self._console.notes([text])

    def progress(self, done: int, total: int) -> None:
        """Bytes so far, and all of them."""
        now = self._clock()
        if self._started is None:
            self._started = self._shown_at = now
        every = _REDRAW_SECONDS if self._has_bar else LINE_SECONDS
        assert self._shown_at is not None
        is_end = done >= total
        if self._console.quiet or (now - self._shown_at < every and not is_end):
            return
        self._shown_at = now
        text = transfer_line(done, total, now - self._started)
        with suppress(OSError, ValueError):
            if self._has_bar:
                self._channel.redrawn(cut(text, max(self._channel.columns() - _FREE_COLUMNS, 0)))
            else:
                self._channel.line(text)

    def close(self) -> None:
        """Leave the line as it is and start a new one."""
        if self._has_bar and self._started is not None:
            with suppress(OSError, ValueError):
                self._channel.end_redrawn()
        self._started = self._shown_at = None


def transfer_view(console: Console) -> TransferView:
    """The view for a command's output."""
    return TransferView(console)
