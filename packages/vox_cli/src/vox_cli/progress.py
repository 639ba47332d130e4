"""Display of a training run in progress: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from vox_cli.terminal import Channel
from vox_cli.text_width import cells, cut
from vox_populi.events import Event, EventName
from vox_populi.pipeline.progress_lines import (
    ProgressLines,
    count_in,
    describe,
    joined,
    step_fields,
)

_REDRAW_SECONDS = 0.1
_SMALLEST_BAR = 8
_FREE_COLUMNS = 3
"""A terminal wraps when its last column is written, and shows `^C` where Ctrl-C is pressed."""


class ProgressBar:
    """A bar that redraws the last line of a terminal; evaluations stay above it."""

    def __init__(self, channel: Channel, clock: Callable[[], float] = time.monotonic) -> None:
        self._channel = channel
        self._clock = clock
        self._drawn_at: float | None = None
        self.said: set[str] = set()

    def emit(self, event: Event) -> None:
        """Show an event; if the terminal is gone, the run continues."""
        with suppress(OSError, ValueError):
            if event.name is EventName.STEP:
                self._draw(event.payload)
                return
            for text in describe(event):
                self._channel.over_redrawn(text)
                self._drawn_at = None
                self.said.add(text)

    def close(self) -> None:
        """Leave the bar as it is and start a new line."""
        if self._drawn_at is not None:
            with suppress(OSError, ValueError):
                self._channel.end_redrawn()
            self._drawn_at = None

    def _draw(self, payload: Mapping[str, object]) -> None:
        now = self._clock()
        step, total = count_in(payload, "step"), count_in(payload, "planned_steps_total")
        is_recent = self._drawn_at is not None and now - self._drawn_at < _REDRAW_SECONDS
        if is_recent and step != total:
            return
        self._drawn_at = now
        # Asked each time: a window is resized.
        self._channel.redrawn(_fitted(payload, self._channel.columns() - _FREE_COLUMNS))


def progress_sink(
    channel: Channel, *, has_bar: bool, log_every: int
) -> ProgressBar | ProgressLines:
    """The sink that suits a stream; close it when the run is over.

    Its `said` has the notes that were shown, so that they are not repeated.
    """
    return ProgressBar(channel) if has_bar else ProgressLines(channel.line, log_every)


def _fitted(payload: Mapping[str, object], room: int) -> str:
    """What fits: all fields and a bar, the most important fields, or part of the first."""
    shown = list(step_fields(payload))
    while len(shown) > 1 and cells(joined(shown)) > room:
        shown.remove(max(shown))
    words = cut(joined(shown), max(room, 0))
    step, total = count_in(payload, "step"), count_in(payload, "planned_steps_total")
    left = room - cells(words) - len("[] ")
    return f"{_filled(step / max(total, 1), left)} {words}" if left >= _SMALLEST_BAR else words


def _filled(fraction: float, width: int) -> str:
    full = round(min(max(fraction, 0.0), 1.0) * width)
    return f"[{'#' * full}{'.' * (width - full)}]"
