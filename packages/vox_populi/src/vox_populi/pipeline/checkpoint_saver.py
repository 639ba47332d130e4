"""Turning the engine's states into checkpoints of the run folder, and reporting them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vox_populi.adapters.header import AdapterHeader
from vox_populi.events import Event, EventName, Sink
from vox_populi.runs.checkpoint_dir import Checkpoint, write_checkpoint
from vox_populi.runs.checkpoint_state import state_files
from vox_populi.runs.request import RunRequest
from vox_populi.train.engine_state import EngineState


@dataclass(slots=True)
class CheckpointSaver:
    """Writes a checkpoint each time it is called (`train.engine_state.CheckpointPolicy.save`)."""

    run: Path
    request: RunRequest
    header_at: Callable[[int], AdapterHeader]
    keep: int
    sink: Sink
    sync_history: Callable[[], None]
    """Function that flushes the events so far to disk."""
    keep_best: bool = True
    """Whether the checkpoint with the lowest held-out loss is kept in addition."""
    last: Checkpoint | None = None
    """The newest checkpoint that this process wrote or started from."""

    def __call__(self, state: EngineState) -> None:
        """Write a checkpoint.

        Raises:
            EnvironmentFailure: When the system refuses; earlier checkpoints are untouched.
        """
        started = time.perf_counter()
        # A run that goes on from this checkpoint keeps these lines and writes the later ones.
        self.sync_history()
        files = state_files(state, self.request, self.header_at)
        best = state.best_step if self.keep_best else None
        self.last = write_checkpoint(self.run, state.step, files, keep=self.keep, best=best)
        payload = {
            "step": state.step,
            "epoch": state.epoch,
            "checkpoint": self.last.name,
            "bytes": sum(len(chunk) for chunks in files.values() for chunk in chunks),
            "seconds": round(time.perf_counter() - started, 3),
        }
        self.sink.emit(Event(EventName.CHECKPOINT_SAVED, payload))
