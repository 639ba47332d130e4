from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vox_cli.commands import mens_status
from vox_populi.pipeline.status import StatusReport
from vox_populi.runs.run_history import RunState

Vox = Callable[..., Any]

STATUS = StatusReport(
    run=Path("runs/x"),
    state=RunState.RUNNING,
    step=3,
    planned_steps=10,
    epoch=1,
    train_loss=2.5,
    heldout_loss_before=4.0,
    heldout_loss=3.0,
    supervised_tokens=30,
    tokens_per_second=1000.0,
    eta_seconds=75.0,
    holder="pid 1 on host",
    checkpoints=("step-2",),
    artifacts={},
    telemetry={"lines": 3},
    failure=None,
)


def test_the_losses_of_a_proxy_are_called_so(vox: Vox, monkeypatch: pytest.MonkeyPatch) -> None:
    for graph, is_named in ((None, False), ("full_graph_v1", False), ("lm_head_only", True)):
        report = replace(STATUS, graph_id=graph)
        monkeypatch.setattr(mens_status, "run_status", lambda run, report=report: report)
        outcome = vox("mens", "status", "runs/x")
        assert outcome.code == 0
        assert ("lm_head_only" in outcome.out) is is_named


def test_status_shows_how_far_a_run_is(vox: Vox, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def run_status(run: Path) -> StatusReport:
        asked.append(run)
        return STATUS

    monkeypatch.setattr(mens_status, "run_status", run_status)
    outcome = vox("mens", "status", "runs/x")
    assert asked == [Path("runs/x")]
    assert "running" in outcome.out
    assert "3 of 10" in outcome.out
    assert "1:15" in outcome.out
    document = vox("mens", "status", "runs/x", "--json").document
    assert (document["ok"], document["state"], document["step"]) == (True, "running", 3)


def test_status_of_nothing_is_refused(vox: Vox, tmp_path: Path) -> None:
    outcome = vox("mens", "status", tmp_path / "no", "--json")
    assert outcome.code == 3
    assert outcome.document["problems"][0]["where"] == str(tmp_path / "no")
