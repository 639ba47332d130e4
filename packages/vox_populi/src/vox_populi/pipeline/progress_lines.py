"""A training run in lines of text: for a terminal, a log, a notebook. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress

from vox_populi.events import Event, EventName

_BETWEEN = "  "


class ProgressLines:
    """Writes one line every N steps, for logs, pipes and CI."""

    def __init__(self, write: Callable[[str], object], log_every: int) -> None:
        self._write = write
        self._log_every = log_every
        self.said: set[str] = set()

    def emit(self, event: Event) -> None:
        """Show an event; if the stream is gone, the run continues."""
        if not self._is_due(event):
            return
        with suppress(OSError, ValueError):
            for text in describe(event):
                self._write(text)
                self.said.add(text)

    def close(self) -> None:
        """Do nothing: every line is finished."""

    def _is_due(self, event: Event) -> bool:
        if event.name is not EventName.STEP:
            return True
        payload = event.payload
        step, total = count_in(payload, "step"), count_in(payload, "planned_steps_total")
        return step in (1, total) or step % self._log_every == 0


def describe(event: Event) -> Iterator[str]:
    """The lines for an event; none for events not meant for people."""
    payload = event.payload
    if event.name is EventName.STEP:
        yield joined(step_fields(payload))
    elif event.name is EventName.EVALUATION:
        step, loss = count_in(payload, "step"), number_in(payload, "val_loss")
        yield f"step {step}: held-out loss {loss:.4f}"
    elif event.name is EventName.EARLY_STOP:
        step, best = count_in(payload, "step"), count_in(payload, "best_step")
        yield f"step {step}: stopped early, no better held-out loss since step {best}"
    elif event.name is EventName.TRAIN_RESUMED:
        notes = payload.get("notes")
        yield from map(str, notes if isinstance(notes, list) else ())
    elif event.name is EventName.GPU_FALLBACK:
        yield "no usable accelerator was found; training on the CPU"


def joined(fields: Iterable[tuple[int, str]]) -> str:
    """The parts of a step's line, joined."""
    return _BETWEEN.join(text for _, text in fields)


def step_fields(payload: Mapping[str, object]) -> Iterator[tuple[int, str]]:
    """The parts of a step's line, each with its priority: 0 is dropped last."""
    step, total = count_in(payload, "step"), count_in(payload, "planned_steps_total")
    yield 0, f"step {step}/{total}"
    yield 1, f"loss {number_in(payload, 'loss'):.4f}"
    yield 4, f"lr {number_in(payload, 'learning_rate'):.2e}"
    yield 3, f"{number_in(payload, 'tokens_per_sec'):,.0f} tokens/s"
    left = payload.get("eta_seconds_remaining")
    if isinstance(left, int | float):
        yield 2, f"ETA {clock_text(float(left))}"


def clock_text(seconds: float) -> str:
    """A duration as a clock shows it: minutes and seconds, hours where there are any."""
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def count_in(payload: Mapping[str, object], key: str) -> int:
    """A whole number of an event, or 0."""
    value = payload.get(key)
    return value if isinstance(value, int) else 0


def number_in(payload: Mapping[str, object], key: str) -> float:
    """A number of an event, or 0."""
    value = payload.get(key)
    return float(value) if isinstance(value, int | float) else 0.0
