"""`--max-runtime-secs`: the run stops between two steps, says so, and goes on to the same bytes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("torch", reason="needs vox-tensor[gpu]")

from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.pipeline import interruption
from vox_populi.pipeline.status import run_status
from vox_populi.pipeline.stopped_run import RunOutOfTimeError
from vox_populi.pipeline.train import Resume, RunOptions, TrainReport, run_training
from vox_populi.runs.run_history import RunState

MakeContract = Callable[..., FinetuneContract]
REPRODUCIBLE = ("model_final.bin", "training_manifest.json", "MODEL_CARD.md", "request.json")


@pytest.fixture
def undisturbed(make_contract: MakeContract, tmp_path: Path) -> TrainReport:
    return run_training(make_contract(output_dir=tmp_path / "undisturbed"), RunOptions())


def assert_same_bytes(run: Path, other: Path) -> None:
    for name in REPRODUCIBLE:
        assert (run / name).read_bytes() == (other / name).read_bytes(), name


def test_a_run_whose_time_is_always_up_does_one_step_at_a_time_to_the_same_bytes(
    make_contract: MakeContract, undisturbed: TrainReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(monotonic=lambda: math.inf)
    monkeypatch.setattr(interruption, "time", clock)
    contract = make_contract()
    options = RunOptions(resume=Resume(), max_runtime_secs=60)
    for step in range(1, undisturbed.steps):
        with pytest.raises(RunOutOfTimeError, match=f"60 s after step {step}") as caught:
            run_training(contract, options)
        assert caught.value.exit_code == 124
        status = run_status(contract.output_dir)
        assert (status.state, status.step) == (RunState.INTERRUPTED, step)
        assert status.checkpoints[-1] == f"step-{step}"
        assert "limit of 60 s" in str(status.failure)
    # The last step completes the run, however late it is.
    assert_same_bytes(run_training(contract, options).run, undisturbed.run)


def test_a_run_within_its_time_limit_is_not_stopped(
    make_contract: MakeContract, undisturbed: TrainReport
) -> None:
    report = run_training(make_contract(), RunOptions(max_runtime_secs=10**6))
    assert_same_bytes(report.run, undisturbed.run)
