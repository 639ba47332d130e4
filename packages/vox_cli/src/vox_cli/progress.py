"""What a training run looks like while it goes: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

from vox_cli.terminal import Channel
from vox_cli.text_width import cells, cut
from vox_populi.events import Event, EventName

_REDRAW_SECONDS = 0.1
_SMALLEST_BAR = 8
_BETWEEN = "  "
_FREE_COLUMNS = 3
"""A terminal wraps when its last column is written, and shows `^C` where Ctrl-C is pressed."""


class ProgressLines:
    """Writes one line every so many steps: for logs, pipes and CI."""

    def __init__(self, channel: Channel, log_every: int) -> None:
        self._channel = channel
        self._log_every = log_every
        self.said: set[str] = set()

    def emit(self, event: Event) -> None:
        """Show an event; a stream that is gone is not the run's concern."""
        if not self._is_due(event):
            return
        with suppress(OSError, ValueError):
            for text in describe(event):
                self._channel.line(text)
                self.said.add(text)

    def close(self) -> None:
        """Do nothing: every line is finished."""

    def _is_due(self, event: Event) -> bool:
        if event.name is not EventName.STEP:
            return True
        step, total = _count(event.payload, "step"), _count(event.payload, "planned_steps_total")
        return step in (1, total) or step % self._log_every == 0


class ProgressBar:
    """Redraws the last line of a terminal; evaluations stay above it."""

    def __init__(self, channel: Channel, clock: Callable[[], float] = time.monotonic) -> None:
        self._channel = channel
        self._clock = clock
        self._drawn_at: float | None = None
        self.said: set[str] = set()

    def emit(self, event: Event) -> None:
        """Show an event; a terminal that is gone is not the run's concern."""
        with suppress(OSError, ValueError):
            if event.name is EventName.STEP:
                self._draw(event.payload)
                return
            for text in describe(event):
                self._channel.over_redrawn(text)
                self._drawn_at = None
                self.said.add(text)

    def close(self) -> None:
        """Leave the bar as it stands and start a new line."""
        if self._drawn_at is not None:
            with suppress(OSError, ValueError):
                self._channel.end_redrawn()
            self._drawn_at = None

    def _draw(self, payload: Mapping[str, object]) -> None:
        now = self._clock()
        step, total = _count(payload, "step"), _count(payload, "planned_steps_total")
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

    Its `said` has the notes that were shown, so that nobody repeats them.
    """
    return ProgressBar(channel) if has_bar else ProgressLines(channel, log_every)


def describe(event: Event) -> Iterator[str]:
    """An event in lines; none for one that says nothing to people."""
    payload = event.payload
    if event.name is EventName.STEP:
        yield _BETWEEN.join(text for _, text in _fields(payload))
    elif event.name is EventName.EVALUATION:
        yield f"step {_count(payload, 'step')}: held-out loss {_real(payload, 'val_loss'):.4f}"
    elif event.name is EventName.EARLY_STOP:
        step, best = _count(payload, "step"), _count(payload, "best_step")
        yield f"step {step}: stopped early, no better held-out loss since step {best}"
    elif event.name is EventName.TRAIN_RESUMED:
        notes = payload.get("notes")
        yield from map(str, notes if isinstance(notes, list) else ())
    elif event.name is EventName.GPU_FALLBACK:
        yield "no usable accelerator was found; training on the CPU"


def _fields(payload: Mapping[str, object]) -> Iterator[tuple[int, str]]:
    """The parts of a step's line, each with its priority: 0 is given up last."""
    step, total = _count(payload, "step"), _count(payload, "planned_steps_total")
    yield 0, f"step {step}/{total}"
    yield 1, f"loss {_real(payload, 'loss'):.4f}"
    yield 4, f"lr {_real(payload, 'learning_rate'):.2e}"
    yield 3, f"{_real(payload, 'tokens_per_sec'):,.0f} tokens/s"
    left = payload.get("eta_seconds_remaining")
    if isinstance(left, int | float):
        yield 2, f"ETA {clock_text(float(left))}"


def _fitted(payload: Mapping[str, object], room: int) -> str:
    """What fits: all fields and a bar, or the most important fields, or the start of the first."""
    shown = list(_fields(payload))
    while len(shown) > 1 and cells(_joined(shown)) > room:
        shown.remove(max(shown))
    words = cut(_joined(shown), max(room, 0))
    step, total = _count(payload, "step"), _count(payload, "planned_steps_total")
    left = room - cells(words) - len("[] ")
    return f"{_filled(step / max(total, 1), left)} {words}" if left >= _SMALLEST_BAR else words


def _joined(fields: list[tuple[int, str]]) -> str:
    return _BETWEEN.join(text for _, text in fields)


def _filled(fraction: float, width: int) -> str:
    full = round(min(max(fraction, 0.0), 1.0) * width)
    return f"[{'#' * full}{'.' * (width - full)}]"


def clock_text(seconds: float) -> str:
    """A duration as a clock shows it: minutes and seconds, hours where there are any."""
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _count(payload: Mapping[str, object], key: str) -> int:
    value = payload.get(key)
    return value if isinstance(value, int) else 0


def _real(payload: Mapping[str, object], key: str) -> float:
    value = payload.get(key)
    return float(value) if isinstance(value, int | float) else 0.0
