"""`--dry-run=step` measures and leaves nothing behind."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.pipeline.train import RunOptions, run_training
from vox_populi.pipeline.trial import try_one_step

MakeContract = Callable[..., FinetuneContract]


def test_one_step_is_measured_and_nothing_stays(
    make_contract: MakeContract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    contract = make_contract()
    trial = try_one_step(contract)
    assert list(scratch.iterdir()) == []
    assert not contract.output_dir.exists()
    assert trial.heldout_loss is not None
    document = json.loads(json.dumps(trial.as_json(), allow_nan=False))
    measured = document["trial"]
    assert measured["measured_peak_bytes"] > 0
    assert measured["estimated_peak_bytes"] == document["memory_bytes"]["total"]


def test_the_trial_saves_and_evaluates_what_the_run_will(make_contract: MakeContract) -> None:
    contract = make_contract()
    trial = try_one_step(contract)
    report = run_training(contract, RunOptions())
    assert trial.heldout_loss == report.heldout_loss_before
    assert trial.adapter_bytes == report.artifacts["adapter"].stat().st_size


def test_without_held_out_rows_there_is_no_evaluation(make_contract: MakeContract) -> None:
    contract = make_contract(validation_split_ratio=0.0)
    (contract.data_paths[0] / "valid.jsonl").unlink()
    trial = try_one_step(contract)
    assert (trial.heldout_loss, trial.evaluation_seconds) == (None, None)
