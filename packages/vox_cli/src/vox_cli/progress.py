"""What a training run looks like while it goes: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TextIO

from vox_populi.events import Event, EventName

_REDRAW_SECONDS = 0.1
_CLEAR_TO_END = "\x1b[K"
_SMALLEST_BAR = 8


class ProgressLines:
    """Writes one line every so many steps: for logs, pipes and CI."""

    def __init__(self, stream: TextIO, log_every: int) -> None:
        self._stream = stream
        self._log_every = log_every

    def emit(self, event: Event) -> None:
        """Show an event; a stream that is gone is not the run's concern."""
        text = describe(event)
        if text is not None and self._is_due(event):
            with suppress(OSError, ValueError):
                self._stream.write(text + "\n")
                self._stream.flush()

    def close(self) -> None:
        """Do nothing: every line is finished."""

    def _is_due(self, event: Event) -> bool:
        if event.name is not EventName.STEP:
            return True
        step, total = _count(event.payload, "step"), _count(event.payload, "planned_steps_total")
        return step in (1, total) or step % self._log_every == 0


class ProgressBar:
    """Redraws the last line of a terminal; evaluations stay above it."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._drawn_at: float | None = None

    def emit(self, event: Event) -> None:
        """Show an event; a terminal that is gone is not the run's concern."""
        with suppress(OSError, ValueError):
            if event.name is EventName.STEP:
                self._draw(event.payload)
            elif (text := describe(event)) is not None:
                self._stream.write(f"\r{text}{_CLEAR_TO_END}\n")
                self._drawn_at = None
            self._stream.flush()

    def close(self) -> None:
        """Leave the bar as it stands and start a new line."""
        if self._drawn_at is not None:
            with suppress(OSError, ValueError):
                self._stream.write("\n")
                self._stream.flush()
            self._drawn_at = None

    def _draw(self, payload: Mapping[str, object]) -> None:
        now = self._clock()
        step, total = _count(payload, "step"), _count(payload, "planned_steps_total")
        is_recent = self._drawn_at is not None and now - self._drawn_at < _REDRAW_SECONDS
        if is_recent and step != total:
            return
        self._drawn_at = now
        words = _step_words(payload)
        # One column stays free: a terminal wraps when its last one is written.
        room = shutil.get_terminal_size().columns - len(words) - 4
        bar = f"{_filled(step / max(total, 1), room)} " if room >= _SMALLEST_BAR else ""
        self._stream.write(f"\r{bar}{words}{_CLEAR_TO_END}")


def progress_sink(stream: TextIO, *, has_bar: bool, log_every: int) -> ProgressBar | ProgressLines:
    """The sink that suits a stream; close it when the run is over."""
    return ProgressBar(stream) if has_bar else ProgressLines(stream, log_every)


def describe(event: Event) -> str | None:
    """An event as one line, or `None` for one that says nothing to people."""
    payload = event.payload
    if event.name is EventName.STEP:
        return _step_words(payload)
    if event.name is EventName.EVALUATION:
        return f"step {_count(payload, 'step')}: held-out loss {_real(payload, 'val_loss'):.4f}"
    if event.name is EventName.EARLY_STOP:
        step, best = _count(payload, "step"), _count(payload, "best_step")
        return f"step {step}: stopped early, no better held-out loss since step {best}"
    if event.name is EventName.TRAIN_RESUMED:
        notes = payload.get("notes")
        return "\n".join(map(str, notes)) if isinstance(notes, list) else None
    if event.name is EventName.GPU_FALLBACK:
        return "no usable accelerator was found; training on the CPU"
    return None


def _step_words(payload: Mapping[str, object]) -> str:
    step, total = _count(payload, "step"), _count(payload, "planned_steps_total")
    rate, left = _real(payload, "tokens_per_sec"), _real(payload, "eta_seconds_remaining")
    loss, learning_rate = _real(payload, "loss"), _real(payload, "learning_rate")
    return (
        f"step {step}/{total}  loss {loss:.4f}  lr {learning_rate:.2e}  "
        f"{rate:,.0f} tokens/s  ETA {clock_text(left)}"
    )


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
