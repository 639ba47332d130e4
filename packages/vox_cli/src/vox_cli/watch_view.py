"""The screen of `vox mens watch`: what is known of a run, as lines that fit a terminal."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from vox_cli.report_text import bytes_text
from vox_cli.text_width import cells, cut, padded
from vox_populi.events import EventName
from vox_populi.pipeline.event_lines import event_lines
from vox_populi.pipeline.follow import Look
from vox_populi.pipeline.progress_lines import clock_text
from vox_populi.runs.run_history import RunHistory, RunState, first_count, first_number
from vox_populi.runs.telemetry import TelemetryLine
from vox_populi.runs.thinned_series import ThinnedSeries
from vox_tensor.visible_text import one_line

_BLOCKS, _ASCII_BLOCKS = "▁▂▃▄▅▆▇█", "_.-=+*#@"
_NAME_WIDTH = 9
_MOST_CHECKPOINTS = 3
_SERIES_LENGTH = 240
_RECENT = 3
_BETWEEN = "  "


@dataclass(slots=True)
class WatchedRun:
    """What is drawn of a run, beside its last look."""

    name: str
    losses: ThinnedSeries = field(default_factory=lambda: ThinnedSeries(_SERIES_LENGTH))
    recent: list[str] = field(default_factory=list)
    """The last events, apart from steps."""

    def add(self, look: Look) -> None:
        """Take note of what is new."""
        if look.has_restarted:
            self.losses = ThinnedSeries(_SERIES_LENGTH)
        for line in look.read:
            if line.event == EventName.STEP:
                self._add_step(line)
        others = (line for line in look.new if line.event != EventName.STEP)
        self.recent = [*self.recent, *event_lines(others)][-_RECENT:]

    def _add_step(self, line: TelemetryLine) -> None:
        step, loss = first_count(line.payload.get("step")), first_number(line.payload.get("loss"))
        if step is not None and loss is not None:
            self.losses.add(step, loss)


def watch_lines(
    watched: WatchedRun, look: Look, columns: int, *, has_unicode: bool = True
) -> list[str]:
    """The screen; no line is wider than the terminal.

    Args:
        watched: The run's curve and last events.
        look: Its state and history.
        columns: Columns that may be written.
        has_unicode: Whether the terminal shows more than ASCII.
    """
    blocks = blocks_of(has_unicode=has_unicode)
    lines = [_head(watched, look), *_progress(look, columns)]
    for name, values, words in _curves(watched, look.history):
        lines.append(_curve(name, values, words, blocks, columns))
    lines += _facts(look.history, columns)
    lines += [f"  {text}" for text in watched.recent]
    return [cut(one_line(line), columns) for line in lines]


def blocks_of(*, has_unicode: bool) -> str:
    """Characters of eight heights that a terminal can show."""
    return _BLOCKS if has_unicode else _ASCII_BLOCKS


def sparkline(values: Sequence[float], width: int, blocks: str = _BLOCKS) -> str:
    """Values as blocks of eight heights, one column for each or for several neighbours' mean."""
    if not values or width < 1:
        return ""
    count = min(len(values), width)
    bounds = [len(values) * i // count for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(bounds)]
    least, greatest = min(means), max(means)
    scale = (len(blocks) - 1) / (greatest - least) if greatest > least else 0.0
    return "".join(blocks[round((mean - least) * scale)] for mean in means)


def _head(watched: WatchedRun, look: Look) -> str:
    return _BETWEEN.join(each for each in (look.state.value, watched.name, look.holder) if each)


def _progress(look: Look, columns: int) -> Iterator[str]:
    history = look.history
    step = history.of(EventName.STEP)
    done = first_count(step.get("step")) or 0
    total = first_count(history.of(EventName.TRAIN_START).get("planned_steps_total"))
    if total is None:
        yield "loading" if look.state is RunState.RUNNING else "no step"
        return
    epoch = first_count(step.get("epoch"))
    left = first_number(step.get("eta_seconds_remaining"))
    parts = [f"step {done:,}/{total:,}"]
    if left is not None and look.state is RunState.RUNNING:
        parts.append(f"ETA {clock_text(left)}")
    if epoch is not None:
        parts.append(f"epoch {epoch + 1}")
    words = _fitting(parts, columns)
    room = columns - cells(words) - len(_BETWEEN) - 7
    fraction = min(done / max(total, 1), 1.0)
    bar = _bar(fraction, min(room, 40))
    yield f"{words}{_BETWEEN}{bar}" if bar else words


def _bar(fraction: float, room: int) -> str:
    if room < 8:
        return ""
    full = round(fraction * room)
    return f"[{'#' * full}{'.' * (room - full)}] {int(100 * fraction)}%"


def _curves(watched: WatchedRun, history: RunHistory) -> Iterator[tuple[str, Sequence[float], str]]:
    if watched.losses.last is not None:
        means = [each.mean for each in watched.losses.ranges]
        yield "loss", means, f"{watched.losses.last:.4f}"
    losses = list(history.evaluations.values())
    if losses:
        best = history.best_step
        words = f"{losses[-1]:.4f}"
        if best is not None:
            words += f" (best {history.evaluations[best]:.4f} at {best})"
        yield "held-out", losses, words


def _curve(name: str, values: Sequence[float], words: str, blocks: str, columns: int) -> str:
    head = f"{padded(name, _NAME_WIDTH)} {words}"
    room = columns - cells(head) - len(_BETWEEN)
    if room < 8:
        head = f"{padded(name, _NAME_WIDTH)} {words.partition(' ')[0]}"
        room = columns - cells(head) - len(_BETWEEN)
    return f"{head}{_BETWEEN}{sparkline(values, min(room, 60), blocks)}"


def _facts(history: RunHistory, columns: int) -> Iterator[str]:
    step = history.of(EventName.STEP)
    rate, norm = first_number(step.get("tokens_per_sec")), first_number(step.get("grad_norm"))
    learning_rate = first_number(step.get("learning_rate"))
    parts = [] if rate is None else [f"{rate:,.0f} tokens/s"]
    parts += [] if learning_rate is None else [f"lr {learning_rate:.2e}"]
    parts += [] if norm is None else [f"gradient norm {norm:.3g}"]
    memory = bytes_text(first_count(step.get("peak_memory_bytes")))
    parts += [] if memory is None else [f"peak memory {memory}"]
    if parts:
        yield _fitting(parts, columns)
    saved = history.saved[-_MOST_CHECKPOINTS:]
    if saved:
        shown = [_checkpoint(history, each) for each in saved]
        while len(shown) > 1 and cells(_checkpoint_line(shown)) > columns:
            shown.pop(0)
        yield _checkpoint_line(shown)


def _checkpoint_line(shown: Sequence[str]) -> str:
    return f"{padded('saved', _NAME_WIDTH)} {', '.join(shown)}"


def _checkpoint(history: RunHistory, step: int) -> str:
    loss = history.evaluations.get(step)
    return f"step-{step}" if loss is None else f"step-{step} ({loss:.4f})"


def _fitting(parts: Sequence[str], columns: int) -> str:
    """Join the parts that fit; the last ones are dropped first."""
    shown = list(parts)
    while len(shown) > 1 and cells(_BETWEEN.join(shown)) > columns:
        shown.pop()
    return _BETWEEN.join(shown)
