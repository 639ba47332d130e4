"""Following a run: what is new is passed on once, and the end of the run is its end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_populi.errors import ArtifactError, RunFailedError
from vox_populi.pipeline.follow import FollowTiming, Look, follow_run, raise_outcome
from vox_populi.runs.run_dir import RunDir
from vox_populi.runs.run_history import RunState

STEPS = [("train_start", {"planned_steps_total": 10}), *(("step", {"step": i}) for i in (1, 2, 3))]


def lines(*events: tuple[str, dict[str, Any]], since: int = 1000) -> str:
    return "".join(
        json.dumps({"ts_ms": since + number, "event": name, "payload": payload}) + "\n"
        for number, (name, payload) in enumerate(events)
    )


def write(run: Path, text: str) -> None:
    path = run / "telemetry.jsonl"
    path.with_name("new").write_text(text)
    Path(path.with_name("new")).replace(path)


def append(run: Path, text: str) -> None:
    with (run / "telemetry.jsonl").open("a") as file:
        file.write(text)


class Clock:
    """Time passes by sleeping, and something happens at each sleep."""

    def __init__(self, *happens: Callable[[], object]) -> None:
        self.now, self.happens = 0.0, list(happens)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        assert self.now < 1000, "it must end"
        if self.happens:
            self.happens.pop(0)()

    def timing(self) -> FollowTiming:
        return FollowTiming(restart_seconds=5.0, sleep=self.sleep, clock=lambda: self.now)


def names(look: Look) -> list[object]:
    return [line.payload.get("step", line.event) for line in look.new]


def test_new_events_are_passed_on_once_until_the_run_fails(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path)
    write(tmp_path, lines(*STEPS[:2]))

    def fail() -> None:
        failed = {"message": "the loss is nan.", "interrupted": False}
        append(tmp_path, lines(("train_failed", failed), since=3000))
        run.__exit__(None, None, None)

    clock = Clock(lambda: append(tmp_path, lines(STEPS[2], since=2000)), fail)
    looks = list(follow_run(tmp_path, clock.timing()))
    assert [names(look) for look in looks] == [["train_start", 1], [2], ["train_failed"]]
    assert [look.state for look in looks] == [*[RunState.RUNNING] * 2, RunState.FAILED]
    with pytest.raises(RunFailedError, match=r"MENS-R101.*the loss is nan"):
        raise_outcome(tmp_path, looks[-1])


def test_a_resumed_run_passes_nothing_on_twice(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path)
    write(tmp_path, lines(*STEPS))

    def resume() -> None:
        kept = lines(*STEPS[:3])
        write(tmp_path, kept + lines(("train_resumed", {"step": 2}), since=5000))

    def complete() -> None:
        (tmp_path / "model_final.bin").touch()
        (tmp_path / "training_manifest.json").touch()
        run.__exit__(None, None, None)

    looks = list(follow_run(tmp_path, Clock(resume, complete).timing()))
    assert [names(look) for look in looks] == [["train_start", 1, 2, 3], [2], []]
    assert [look.has_restarted for look in looks] == [False, True, False]
    assert looks[1].history.counts["step"] == 2
    assert looks[-1].state is RunState.COMPLETED
    raise_outcome(tmp_path, looks[-1])


def test_a_killed_run_is_waited_for(tmp_path: Path) -> None:
    write(tmp_path, lines(*STEPS))
    held: list[RunDir] = []
    clock = Clock(
        lambda: held.append(RunDir.reopen(tmp_path)), lambda: held[0].__exit__(None, None, None)
    )
    (tmp_path / "request.json").touch()
    looks = list(follow_run(tmp_path, clock.timing()))
    assert [look.state for look in looks[:3]] == [
        RunState.INTERRUPTED,
        RunState.RUNNING,
        RunState.INTERRUPTED,
    ]
    assert clock.now == 7.0, "five seconds after it was gone for the second time"
    with pytest.raises(RunFailedError, match="MENS-R102"):
        raise_outcome(tmp_path, looks[-1])


def test_a_stopped_run_ends_with_the_code_of_its_signal(tmp_path: Path) -> None:
    stopped = ("train_failed", {"message": "stopped", "interrupted": True})
    write(tmp_path, lines(*STEPS, stopped))
    (look,) = follow_run(tmp_path, Clock().timing())
    with pytest.raises(RunFailedError, match=r"MENS-R103.*after step 3") as caught:
        raise_outcome(tmp_path, look)
    assert getattr(caught.value, "exit_code", None) == 130


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ArtifactError, match="MENS-A022"):
            list(follow_run(path, Clock().timing()))
