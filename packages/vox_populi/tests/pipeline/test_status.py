"""Status reads a run folder and nothing else, whatever state the run is in."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from vox_populi.errors import ArtifactError
from vox_populi.pipeline.status import StatusReport, run_status
from vox_populi.runs.run_dir import RunDir
from vox_populi.runs.run_history import RunState


def write_telemetry(run: Path, *events: tuple[str, dict[str, Any]]) -> None:
    run.mkdir(exist_ok=True)
    lines = (
        json.dumps({"ts_ms": 1000 + number, "event": name, "payload": payload}) + "\n"
        for number, (name, payload) in enumerate(events)
    )
    (run / "telemetry.jsonl").write_text("".join(lines), encoding="utf-8")


START = ("train_start", {"planned_steps_total": 10})
STEP = ("step", {"epoch": 0, "step": 4, "loss": 2.5, "tokens_per_sec": 100.0,
                 "supervised_tokens_total": 40, "eta_seconds_remaining": 6.0})  # fmt: skip


def test_status_of_a_running_run(tmp_path: Path) -> None:
    with RunDir.create(tmp_path):
        write_telemetry(tmp_path, START, ("evaluation", {"step": 0, "val_loss": 3.0}), STEP)
        report = run_status(tmp_path)
    assert report.state is RunState.RUNNING
    assert report.holder is not None
    assert (report.step, report.planned_steps, report.epoch) == (4, 10, 1)
    assert (report.train_loss, report.heldout_loss_before, report.heldout_loss) == (2.5, 3.0, 3.0)
    assert (report.supervised_tokens, report.eta_seconds) == (40, 6.0)


def test_speed_is_the_mean_of_the_session_and_that_of_the_last_step(tmp_path: Path) -> None:
    step = (STEP[0], {**STEP[1], "mean_tokens_per_sec": 80.0})
    write_telemetry(tmp_path, START, step)
    report = run_status(tmp_path)
    assert (report.tokens_per_second, report.last_step_tokens_per_second) == (80.0, 100.0)
    write_telemetry(tmp_path, START, step, ("train_complete", {"mean_tokens_per_sec": 75.0}))
    assert run_status(tmp_path).tokens_per_second == 75.0
    write_telemetry(tmp_path, START, STEP)
    assert run_status(tmp_path).tokens_per_second is None, "of an earlier version"


def test_an_abandoned_run_is_interrupted(tmp_path: Path) -> None:
    write_telemetry(tmp_path, START, STEP)
    report = run_status(tmp_path)
    assert (report.state, report.holder, report.eta_seconds) == (RunState.INTERRUPTED, None, None)


@pytest.mark.parametrize(
    ("payload", "state"),
    [
        ({"message": "boom", "interrupted": False}, RunState.FAILED),
        ({"message": "boom", "interrupted": True}, RunState.INTERRUPTED),
    ],
)
def test_status_of_a_failed_run_has_the_reason(
    tmp_path: Path, payload: dict[str, Any], state: RunState
) -> None:
    write_telemetry(tmp_path, START, STEP, ("train_failed", payload))
    report = run_status(tmp_path)
    assert (report.state, report.failure) == (state, "boom")


def test_a_failure_of_an_earlier_session_does_not_fail_a_resumed_run(tmp_path: Path) -> None:
    failed = ("train_failed", {"message": "boom", "interrupted": False})
    write_telemetry(tmp_path, START, STEP, failed, ("train_resumed", {"step": 4}))
    report = run_status(tmp_path)
    assert (report.state, report.failure) == (RunState.INTERRUPTED, None)


def test_damaged_telemetry_is_counted_not_fatal(tmp_path: Path) -> None:
    write_telemetry(tmp_path, START, STEP)
    with (tmp_path / "telemetry.jsonl").open("ab") as file:
        file.write(b"\xff garbage\n" + b'{"ts_ms": 1, "event": "step", "payload": {"step": "x"}}\n')
    report = run_status(tmp_path)
    assert report.telemetry["unreadable_lines"] == 1
    assert report.step == 0


def test_checkpoints_are_listed_by_step(tmp_path: Path) -> None:
    write_telemetry(tmp_path, START)
    for name in ("step-10", "step-9", "latest", "step-x", "step-²"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert run_status(tmp_path).checkpoints == ("step-9", "step-10")


def test_status_refuses_a_folder_that_is_not_a_run(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ArtifactError, match="MENS-A022"):
            run_status(path)


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b"{}", b'{"manifest_schema_version": 99, "vocab_size": 1}'],
)
def test_a_broken_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "training_manifest.json").write_bytes(content)
    with pytest.raises(ArtifactError, match="training_manifest"):
        run_status(tmp_path)


def test_the_document_is_json(tmp_path: Path) -> None:
    write_telemetry(tmp_path, START, ("step", {"step": 1, "loss": None}))
    report = run_status(tmp_path)
    document = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert set(document) == set(StatusReport.__slots__)
    assert document["state"] == "interrupted"


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX file types")
@pytest.mark.parametrize("name", [".run.lock", "telemetry.jsonl", "training_manifest.json"])
def test_a_pipe_in_the_place_of_a_file_ends_in_one_line(tmp_path: Path, name: str) -> None:
    write_telemetry(tmp_path, START, STEP)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(ArtifactError, match="MENS-A100"):
        run_status(tmp_path)
