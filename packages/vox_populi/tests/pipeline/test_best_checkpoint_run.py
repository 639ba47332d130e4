"""The best checkpoint of a run is kept, named, and usable wherever a checkpoint is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from packages.vox_populi.tests.written_curve import WrittenCurve
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.pipeline.merge import MergeRequest, merge_weights
from vox_populi.pipeline.status import run_status
from vox_populi.pipeline.train import Resume, RunOptions, TrainReport, run_training
from vox_populi.runs.adapter_place import adapter_at, means_adapter
from vox_populi.runs.checkpoint_dir import best_checkpoint, list_checkpoints
from vox_populi.runs.find_adapter import find_adapter

MakeContract = Callable[..., FinetuneContract]


@pytest.fixture
def report(make_contract: MakeContract, monkeypatch: pytest.MonkeyPatch) -> TrainReport:
    """A run whose held-out loss rises again after its fourth step."""
    curve = WrittenCurve(9.0, 8.0, 7.0, 6.0, *map(float, range(5, 14)))
    monkeypatch.setattr("vox_populi.train.engine.mean_loss", curve)
    contract = make_contract(eval_every=1, learning_rate=0.5, epochs=4)
    return run_training(contract, RunOptions(keep_checkpoints=1, checkpoint_every=1))


def test_the_best_checkpoint_stays_and_has_its_loss(report: TrainReport) -> None:
    trained = [point for point in report.evaluations if point.step > 0]
    best = min(trained, key=lambda point: point.loss)
    assert best.step != report.steps, "or it would have stayed anyway"
    assert [each.step for each in list_checkpoints(report.run)] == [best.step, report.steps]
    found = best_checkpoint(report.run)
    assert found is not None
    assert found.step == best.step
    status = run_status(report.run)
    assert (status.best_checkpoint, status.best_step) == (found.name, best.step)
    assert status.best_heldout_loss == pytest.approx(best.loss)
    assert status.heldout_by_checkpoint == {
        f"step-{point.step}": point.loss for point in (best, trained[-1])
    }


def test_its_name_is_taken_where_a_checkpoint_is(report: TrainReport, tmp_path: Path) -> None:
    name = report.run / "checkpoints" / "best"
    best = best_checkpoint(report.run)
    assert best is not None
    assert means_adapter(name)
    place = adapter_at(name)
    assert place is not None
    assert (place.checkpoint, place.run) == (best, report.run.resolve())
    assert find_adapter(name).adapter.header.step == best.step
    output = tmp_path / "merged"
    merge_weights(MergeRequest(checkpoint=name, output=output))
    receipt = json.loads((output / "merge_receipt.json").read_text("utf-8"))
    assert str(best.step) in json.dumps(receipt["adapter"])


def test_a_run_can_be_resumed_from_it(
    make_contract: MakeContract, report: TrainReport, tmp_path: Path
) -> None:
    best = best_checkpoint(report.run)
    assert best is not None
    contract = make_contract(
        output_dir=tmp_path / "again", eval_every=1, learning_rate=0.5, epochs=4
    )
    resume = Resume(report.run / "checkpoints" / "best")
    resumed = run_training(contract, RunOptions(resume=resume))
    assert resumed.resumed_from == best.step
    final = "model_final.bin"
    assert (resumed.run / final).read_bytes() == (report.run / final).read_bytes()


def test_without_it_a_run_writes_no_checkpoint(make_contract: MakeContract) -> None:
    report = run_training(make_contract(eval_every=1), RunOptions(keep_best=False))
    assert not (report.run / "checkpoints").exists()
    assert run_status(report.run).best_checkpoint is None
