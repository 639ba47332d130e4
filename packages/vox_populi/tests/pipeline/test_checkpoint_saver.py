"""In which order a checkpoint and the history up to it reach the disk."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs vox-tensor[gpu]")

from vox_populi.events import Event, EventName
from vox_populi.pipeline import checkpoint_saver
from vox_populi.runs.checkpoint_dir import Checkpoint


def test_the_history_is_on_the_disk_before_the_checkpoint_that_it_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    class Recorder:
        def emit(self, event: Event) -> None:
            done.append(event.name)

    def write(run: Path, step: int, files: object, *, keep: int, best: int | None) -> Checkpoint:
        done.append("written")
        return Checkpoint(run / f"step-{step}", step)

    monkeypatch.setattr(checkpoint_saver, "state_files", lambda *state: {})
    monkeypatch.setattr(checkpoint_saver, "write_checkpoint", write)
    anything: Any = SimpleNamespace(step=3, epoch=0, best_step=None)
    save = checkpoint_saver.CheckpointSaver(
        tmp_path, anything, anything, 2, Recorder(), lambda: done.append("synced")
    )
    save(anything)
    assert done == ["synced", "written", EventName.CHECKPOINT_SAVED]
