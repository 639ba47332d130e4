"""`vox mens watch` and `vox mens status --follow`: lines for pipes, and the run's own exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_cli.terminal import Channel

Vox = Callable[..., Any]

EVENTS: tuple[tuple[str, dict[str, object]], ...] = (
    ("train_start", {"planned_steps_total": 2, "pairs_loaded": 1200, "base_model": "b"}),
    ("step", {"step": 1, "loss": 2.0, "planned_steps_total": 2}),
    ("train_failed", {"message": "the loss\nis nan.", "interrupted": False}),
)


@pytest.fixture
def failed_run(tmp_path: Path) -> Path:
    text = "".join(
        json.dumps({"ts_ms": number, "event": name, "payload": payload}) + "\n"
        for number, (name, payload) in enumerate(EVENTS)
    )
    (tmp_path / "telemetry.jsonl").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    "words", [("watch",), ("watch-telemetry",), ("status", "--follow")], ids=lambda each: each[0]
)
def test_a_run_that_has_failed_ends_it_with_4(vox: Vox, failed_run: Path, words: Any) -> None:
    outcome = vox("mens", *words, failed_run)
    assert (outcome.code, outcome.codes) == (4, ["MENS-R101"])
    assert outcome.out == "failed: the loss\\nis nan.\n"


def test_json_is_a_line_for_each_event_and_one_for_the_problem(vox: Vox, failed_run: Path) -> None:
    outcome = vox("mens", "watch", failed_run, "--json")
    event, problem = map(json.loads, outcome.out.splitlines())
    assert event == {"ts_ms": 2, "event": EVENTS[2][0], "payload": EVENTS[2][1]}
    assert (problem["ok"], problem["exit_code"]) == (False, 4)


def test_a_terminal_gets_a_screen(
    vox: Vox, failed_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout.__class__, "isatty", lambda self: True)
    monkeypatch.setattr(Channel, "columns", lambda self: 40)
    outcome = vox("mens", "watch", failed_run)
    assert outcome.code == 4
    assert "step 1/2" in outcome.out
    assert "\x1b[J" in outcome.out


def test_watch_of_nothing_is_refused(vox: Vox, tmp_path: Path) -> None:
    assert vox("mens", "watch", tmp_path).code == 3
    assert vox("mens", "watch", tmp_path, "--interval", "0").code == 2
