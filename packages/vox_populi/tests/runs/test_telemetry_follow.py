"""A growing telemetry file is read once, line by line, whatever happens to it meanwhile."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from vox_populi.runs.telemetry import MAX_LINE_BYTES
from vox_populi.runs.telemetry_follow import NewLines, TelemetryFollower


def line(step: int) -> bytes:
    return json.dumps({"ts_ms": step, "event": "step", "payload": {"step": step}}).encode() + b"\n"


def steps(new: NewLines) -> list[int | None]:
    return [None if each is None else each.ts_ms for each in new.lines]


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_each_line_is_read_once_and_a_torn_one_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.jsonl"
    follower = TelemetryFollower(path)
    assert steps(follower.look()) == [], "there is no file yet"
    append(path, line(1) + line(2)[:10])
    assert steps(follower.look()) == [1]
    assert steps(follower.look()) == []
    append(path, line(2)[10:] + b"garbage\n" + line(3))
    assert steps(follower.look()) == [2, None, 3]


def test_a_replaced_or_shortened_file_is_read_from_its_start(tmp_path: Path) -> None:
    path, other = tmp_path / "telemetry.jsonl", tmp_path / "other"
    append(path, line(1) + line(2))
    follower = TelemetryFollower(path)
    assert not follower.look().has_restarted
    append(other, line(1) + line(2) + line(9))
    Path(other).replace(path)
    new = follower.look()
    assert (steps(new), new.has_restarted) == ([1, 2, 9], True)
    os.truncate(path, len(line(1)))
    new = follower.look()
    assert (steps(new), new.has_restarted) == ([1], True)
    path.unlink()
    assert follower.look() == NewLines(())


def test_a_line_that_is_too_long_counts_as_one_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.jsonl"
    follower = TelemetryFollower(path)
    append(path, b"x" * (MAX_LINE_BYTES + 5))
    assert steps(follower.look()) == []
    append(path, b"\n" + line(1))
    assert steps(follower.look()) == [None, 1]


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX file types")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "telemetry.jsonl")
    with pytest.raises(OSError, match="regular"):
        TelemetryFollower(tmp_path / "telemetry.jsonl").look()
