"""`telemetry.jsonl`: what is written can be read, and a full disk ends the record, not the run."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest

from vox_populi.errors import EnvironmentFailure
from vox_populi.events import Event, EventName
from vox_populi.runs.telemetry import MAX_LINE_BYTES, TelemetryFile, cut_telemetry, read_telemetry


def test_lines_have_time_event_and_payload(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.jsonl"
    sink = TelemetryFile(path)
    sink.emit(Event(EventName.STEP, {"step": 1, "loss": 2.5, "text": "ä\n"}))
    sink.emit(Event(EventName.TRAIN_COMPLETE, {"ok": True}))
    sink.close()
    lines = path.read_text("utf-8").splitlines()
    assert [set(json.loads(line)) for line in lines] == [{"ts_ms", "event", "payload"}] * 2
    first, second = read_telemetry(path)
    assert first is not None
    assert second is not None
    assert (first.event, first.payload["text"]) == ("step", "ä\n")
    assert second.event == "train_complete"
    assert second.ts_ms >= first.ts_ms


def test_a_sink_that_cannot_be_opened_only_warns(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink = TelemetryFile(tmp_path)
    sink.emit(Event(EventName.STEP, {"step": 1}))
    sink.close()
    assert sink.lost_events == 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_gives_one_warning_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    sink = TelemetryFile(Path("/dev/full"))
    for step in range(3):
        sink.emit(Event(EventName.STEP, {"step": step}))
    sink.close()
    assert sink.lost_events == 3
    assert len(caplog.records) == 1


def test_damaged_lines_are_counted_and_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    good = b'{"ts_ms": 1, "event": "step", "payload": {}}\n'
    long = b'"' + b"x" * MAX_LINE_BYTES + b'"\n'
    path = tmp_path / "telemetry.jsonl"
    path.write_bytes(good + b"not json\n" + b"[1]\n" + long + good + good[:10])
    read = list(read_telemetry(path))
    assert [line is None for line in read] == [False, True, True, True, False]


def test_a_cut_keeps_what_was_written_up_to_a_step(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.jsonl"
    file = TelemetryFile(path)
    for name, payload in (
        (EventName.TRAIN_START, {"planned_steps_total": 9}),
        (EventName.EVALUATION, {"step": 0}),
        (EventName.STEP, {"step": 1}),
        (EventName.STEP, {"step": 2}),
        (EventName.EPOCH_COMPLETE, {"epoch": 1, "steps": 2}),
        (EventName.CHECKPOINT_SAVED, {"step": 2}),
        (EventName.STEP, {"step": 3}),
        (EventName.EPOCH_COMPLETE, {"epoch": 2, "steps": 3}),
        (EventName.TRAIN_FAILED, {"interrupted": True}),
    ):
        file.emit(Event(name, payload))
    file.close()
    with path.open("ab") as torn:
        torn.write(b'{"ts_ms": 1, "event": "st')
    cut_telemetry(path, 2)
    kept = [line.event for line in read_telemetry(path) if line is not None]
    assert kept == [
        "train_start",
        "evaluation",
        "step",
        "step",
        "epoch_complete",
        "checkpoint_saved",
        "train_failed",
    ]
    assert path.read_bytes().endswith(b"\n")
    cut_telemetry(path, None)
    assert path.read_bytes() == b""
    cut_telemetry(tmp_path / "absent", 1)
    assert not (tmp_path / "absent").exists()


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX file types")
def test_pipes_and_links_are_neither_waited_for_nor_written_through(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outside, pipe, link = tmp_path / "outside", tmp_path / "pipe", tmp_path / "link"
    outside.write_bytes(b"keep")
    os.mkfifo(pipe)
    link.symlink_to(outside)
    for path in (pipe, link):
        with pytest.raises(EnvironmentFailure, match="MENS-E005"):
            cut_telemetry(path, None)
        sink = TelemetryFile(path)
        sink.emit(Event(EventName.STEP, {"step": 1}))
        sink.close()
        assert sink.lost_events == 1
    with pytest.raises(OSError, match="not a regular file"):
        next(read_telemetry(pipe))
    assert outside.read_bytes() == b"keep"
    assert len(caplog.records) == 2


def test_lines_are_brought_to_the_disk_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", synced.append)
    file = TelemetryFile(tmp_path / "telemetry.jsonl")
    file.sync()
    assert len(synced) == 1

    def refuse(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.fsync", refuse)
    file.sync()
    file.sync()
    assert len(caplog.records) == 1, "one warning, and the run goes on"
