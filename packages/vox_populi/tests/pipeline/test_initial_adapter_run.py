"""`--init-from`: a new run that starts from an adapter's values, and which adapters it takes."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.errors import ArtifactError, PreflightError
from vox_populi.events import Event, EventName
from vox_populi.pipeline.stopped_run import RunInterruptedError
from vox_populi.pipeline.train import Resume, RunOptions, TrainReport, run_training
from vox_tensor.lora_spec import LoraSpec

MakeContract = Callable[..., FinetuneContract]
WAYS = {"lora": LoraSpec(rank=2, alpha=4.0, dropout=0.2), "batch_size": 1, "grad_accum": 2}


@pytest.fixture
def first(make_contract: MakeContract, tmp_path: Path) -> TrainReport:
    return run_training(make_contract(output_dir=tmp_path / "undisturbed", **WAYS), RunOptions())


class StopAtThree:
    """Raises SIGTERM when the third step's event comes by."""

    def emit(self, event: Event) -> None:
        if event.name is EventName.STEP and event.payload["step"] == 3:
            signal.raise_signal(signal.SIGTERM)


def test_init_from_starts_with_an_adapters_values_and_fresh_moments(
    make_contract: MakeContract, tmp_path: Path, first: TrainReport
) -> None:
    adapter = first.artifacts["adapter"]
    moved = tmp_path / "moved.bin"
    shutil.copy(adapter, moved)
    contract = make_contract(init_from=moved, **WAYS)
    report = run_training(contract, RunOptions())
    assert report.heldout_loss_before == pytest.approx(first.heldout_loss_after)
    manifest = json.loads((report.run / "training_manifest.json").read_text("utf-8"))
    start = json.loads((first.run / "training_manifest.json").read_text("utf-8"))
    assert manifest["init_from"] == "sha256:" + start["artifacts"]["model_final.bin"]["sha256"]
    assert manifest["finetune_contract_digest"] != start["finetune_contract_digest"]


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_run_started_from_an_adapter_can_be_stopped_and_resumed(
    make_contract: MakeContract, tmp_path: Path, first: TrainReport
) -> None:
    adapter = first.artifacts["adapter"]
    report = run_training(make_contract(init_from=adapter, **WAYS), RunOptions())
    again = make_contract(init_from=adapter, output_dir=tmp_path / "again", **WAYS)
    with pytest.raises(RunInterruptedError):
        run_training(again, RunOptions(), [StopAtThree()])
    resumed = run_training(again, RunOptions(resume=Resume()))
    assert resumed.resumed_from == 3
    written = report.artifacts["adapter"].read_bytes()
    assert resumed.artifacts["adapter"].read_bytes() == written != adapter.read_bytes()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"lora": LoraSpec(rank=4, alpha=8.0)}, "rank"),
        ({"lora": LoraSpec(rank=2, alpha=8.0)}, "scale"),
        ({"targets": ("q", "v")}, "modules"),
    ],
)
def test_init_from_an_adapter_that_does_not_fit_is_refused_before_the_folder_is_made(
    make_contract: MakeContract, first: TrainReport, changes: dict[str, Any], named: str
) -> None:
    contract = make_contract(init_from=first.artifacts["adapter"], **{**WAYS, **changes})
    with pytest.raises(ArtifactError, match=f"MENS-A084.*{named}"):
        run_training(contract, RunOptions())
    assert not contract.output_dir.exists()


def test_init_from_an_adapter_of_another_base_or_a_missing_file_is_refused(
    make_contract: MakeContract, make_base: Callable[..., Path], first: TrainReport
) -> None:
    adapter = first.artifacts["adapter"]
    other = make_contract(init_from=adapter, model_dir=make_base("other", seed=7), **WAYS)
    with pytest.raises(ArtifactError, match=r"MENS-A084.*base"):
        run_training(other, RunOptions())
    with pytest.raises(PreflightError):
        run_training(make_contract(init_from=adapter.with_name("no.bin"), **WAYS), RunOptions())
