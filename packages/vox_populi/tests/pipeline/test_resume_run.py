"""Stopping a run in every way there is, and going on: same bytes, or a refusal that says why."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from packages.vox_populi.tests.written_curve import WrittenCurve
from vox_populi.adapters.lora_bin import read_adapter_bin
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.optimizer_choice import OptimizerKind
from vox_populi.errors import ArtifactError, EnvironmentFailure, PreflightError, RunFailedError
from vox_populi.events import Event, EventName
from vox_populi.pipeline.status import run_status
from vox_populi.pipeline.stopped_run import RunInterruptedError
from vox_populi.pipeline.train import Resume, RunOptions, TrainReport, run_training
from vox_populi.runs.checkpoint_dir import check_checkpoint, list_checkpoints
from vox_populi.runs.run_dir import RunDir
from vox_populi.runs.run_history import RunState
from vox_populi.runs.telemetry import read_telemetry
from vox_tensor.lora_spec import LoraSpec

MakeContract = Callable[..., FinetuneContract]
REPRODUCIBLE = ("model_final.bin", "training_manifest.json", "MODEL_CARD.md", "request.json")
AUTO = RunOptions(resume=Resume(), checkpoint_every=1)
WAYS = {"lora": LoraSpec(rank=2, alpha=4.0, dropout=0.2), "batch_size": 1, "grad_accum": 2}
TOTAL_STEPS = 6


class StopAt:
    """Raises a signal when a step's event comes by."""

    def __init__(self, step: int, number: signal.Signals = signal.SIGTERM) -> None:
        self.step, self.number = step, number

    def emit(self, event: Event) -> None:
        if event.name is EventName.STEP and event.payload["step"] == self.step:
            signal.raise_signal(self.number)


def stop_at(
    contract: FinetuneContract, step: int, options: RunOptions = AUTO
) -> RunInterruptedError:
    with pytest.raises(RunInterruptedError) as caught:
        run_training(contract, options, [StopAt(step)])
    return caught.value


def steps_told(run: Path) -> list[int]:
    lines = [line for line in read_telemetry(run / "telemetry.jsonl") if line is not None]
    return [int(str(line.payload["step"])) for line in lines if line.event == "step"]


def assert_same_bytes(run: Path, other: Path) -> None:
    for name in REPRODUCIBLE:
        assert (run / name).read_bytes() == (other / name).read_bytes(), name


@pytest.fixture
def undisturbed(make_contract: MakeContract, tmp_path: Path) -> TrainReport:
    return run_training(make_contract(output_dir=tmp_path / "undisturbed", **WAYS), RunOptions())


pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


def test_a_run_stopped_by_a_signal_at_every_step_resumes_to_the_same_bytes(
    make_contract: MakeContract, tmp_path: Path, undisturbed: TrainReport
) -> None:
    assert undisturbed.steps == TOTAL_STEPS
    for step in range(1, TOTAL_STEPS):
        contract = make_contract(output_dir=tmp_path / str(step), **WAYS)
        error = stop_at(contract, step, RunOptions())
        assert f"checkpoints/step-{step}" in str(error)
        assert list_checkpoints(contract.output_dir)[-1].step == step
        report = run_training(contract, AUTO)
        assert report.resumed_from == step
        assert_same_bytes(report.run, undisturbed.run)
        assert steps_told(report.run) == list(range(1, TOTAL_STEPS + 1))
        assert report.evaluations == undisturbed.evaluations
        assert run_status(report.run).state is RunState.COMPLETED


@pytest.mark.parametrize("optimizer", [OptimizerKind.LION, OptimizerKind.ADAMW8BIT])
def test_a_run_of_another_optimizer_resumes_to_the_same_bytes(
    optimizer: OptimizerKind, make_contract: MakeContract, tmp_path: Path
) -> None:
    # Matrices of 256 x 16 have 4096 values: their moments are kept in eight bits.
    ways = {**WAYS, "lora": LoraSpec(rank=256, alpha=4.0, dropout=0.2), "optimizer": optimizer}
    whole = run_training(make_contract(output_dir=tmp_path / "whole", **ways), RunOptions())
    contract = make_contract(output_dir=tmp_path / "stopped", **ways)
    stop_at(contract, 4, RunOptions())
    kept = load_file(list_checkpoints(contract.output_dir)[-1].file("optimizer.safetensors"))
    assert any(name.startswith("first_codes.") for name in kept) is (optimizer == "adamw8bit")
    report = run_training(contract, AUTO)
    assert report.resumed_from == 4
    assert_same_bytes(report.run, whole.run)


def test_checkpoints_do_not_change_the_result_and_only_so_many_stay(
    make_contract: MakeContract, undisturbed: TrainReport
) -> None:
    contract = make_contract(**WAYS)
    run_training(contract, RunOptions(checkpoint_every=2, keep_checkpoints=2))
    assert_same_bytes(contract.output_dir, undisturbed.run)
    assert [c.step for c in list_checkpoints(contract.output_dir)] == [4, 6]
    other = make_contract(output_dir=contract.output_dir.with_name("other"), **{**WAYS, "seed": 1})
    assert run_training(other, RunOptions()).train_loss != undisturbed.train_loss


def test_a_run_may_be_stopped_again_and_again(
    make_contract: MakeContract, undisturbed: TrainReport
) -> None:
    contract = make_contract(**WAYS)
    for step in range(1, TOTAL_STEPS):
        stop_at(contract, step)
    report = run_training(contract, AUTO)
    assert_same_bytes(report.run, undisturbed.run)
    assert steps_told(report.run) == list(range(1, TOTAL_STEPS + 1))


def test_a_checkpoint_holds_an_adapter_that_can_be_read_alone(make_contract: MakeContract) -> None:
    contract = make_contract(**WAYS)
    stop_at(contract, 3)
    (newest,) = list_checkpoints(contract.output_dir)[-1:]
    adapter = read_adapter_bin(newest.file("adapter.bin"))
    assert adapter.header.step == 3
    assert any(torch.count_nonzero(tensor) for tensor in adapter.tensors.values())


def test_a_damaged_newest_checkpoint_is_passed_over_aloud(
    make_contract: MakeContract, undisturbed: TrainReport
) -> None:
    contract, told = make_contract(**WAYS), []

    class Listener:
        def emit(self, event: Event) -> None:
            if event.name is EventName.TRAIN_RESUMED:
                told.append(event.payload)

    stop_at(contract, 4)
    newest = list_checkpoints(contract.output_dir)[-1]
    data = bytearray(newest.file("optimizer.safetensors").read_bytes())
    data[-1] ^= 1
    newest.file("optimizer.safetensors").write_bytes(data)
    report = run_training(contract, AUTO, [Listener()])
    assert report.resumed_from == 3
    assert any("step-4" in note and "optimizer.safetensors" in note for note in report.notes)
    assert (told[0]["checkpoint"], told[0]["passed_over"]) == ("step-3", ["step-4"])
    assert (contract.output_dir / "checkpoints" / "step-4.damaged").is_dir()
    assert_same_bytes(report.run, undisturbed.run)
    assert steps_told(report.run) == list(range(1, TOTAL_STEPS + 1))


def test_when_every_checkpoint_is_damaged_nothing_runs_and_nothing_is_deleted(
    make_contract: MakeContract,
) -> None:
    contract = make_contract(**WAYS)
    stop_at(contract, 3)
    for checkpoint in list_checkpoints(contract.output_dir):
        checkpoint.file("manifest.json").write_bytes(b"{")
    before = snapshot(contract.output_dir)
    with pytest.raises(ArtifactError, match="MENS-A080") as caught:
        run_training(contract, AUTO)
    assert len(caught.value.problems) == 2
    assert snapshot(contract.output_dir) == before


def snapshot(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_changed_request_is_refused_field_by_field_and_nothing_changes(
    make_contract: MakeContract, make_base: Callable[..., Path], write_rows: Callable[..., Path]
) -> None:
    contract = make_contract(**WAYS)
    stop_at(contract, 2)
    before = snapshot(contract.output_dir)
    write_rows([{"prompt": f"Say {i}.", "response": "no"} for i in range(5)])
    faster, other = replace(contract.lr_schedule, learning_rate=0.1), make_base("other", seed=5)
    changed = replace(contract, lr_schedule=faster, seed=1, model_dir=other)
    with pytest.raises(RunFailedError) as caught:
        run_training(changed, AUTO)
    assert {problem.code for problem in caught.value.problems} == {"MENS-R021"}
    named = {problem.where for problem in caught.value.problems}
    assert named == {"--lr", "--seed", "--model", "--data or --data-dir (training rows)"}
    assert "0.005" in str(caught.value)
    assert snapshot(contract.output_dir) == before


def test_force_is_the_way_round_and_keeps_the_old_run(make_contract: MakeContract) -> None:
    contract = make_contract(**WAYS)
    stop_at(contract, 2)
    before = snapshot(contract.output_dir)
    report = run_training(replace(contract, seed=1), replace(AUTO, force=True))
    assert report.resumed_from is None
    assert snapshot(contract.output_dir.with_name("first.old-1")) == before


def test_a_finished_run_says_so_and_changes_nothing(make_contract: MakeContract) -> None:
    contract = make_contract(**WAYS)
    first = run_training(contract, RunOptions())
    before = snapshot(contract.output_dir)
    again = run_training(contract, AUTO)
    assert snapshot(contract.output_dir) == before
    assert (again.steps, again.train_loss, again.heldout_loss_after) == (
        first.steps,
        first.train_loss,
        first.heldout_loss_after,
    )
    assert any("complete" in note for note in again.notes)
    with pytest.raises(RunFailedError, match=r"MENS-R021.*--seed"):
        run_training(replace(contract, seed=9), AUTO)
    with pytest.raises(RunFailedError, match="MENS-R021") as longer:
        run_training(replace(contract, epochs=contract.epochs + 1), AUTO)
    (problem,) = longer.value.problems
    assert "--init-from" in problem.fix
    assert str(contract.output_dir / "model_final.bin") in problem.fix
    with pytest.raises(RunFailedError, match=r"MENS-R021.*--max-steps.*--init-from"):
        run_training(replace(contract, max_steps=2 * first.steps), AUTO)
    assert snapshot(contract.output_dir) == before
    (contract.output_dir / "model_final.bin").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="MENS-A083"):
        run_training(contract, AUTO)


def test_without_a_checkpoint_it_starts_at_the_beginning_and_says_so(
    make_contract: MakeContract, undisturbed: TrainReport
) -> None:
    new = run_training(make_contract(**WAYS), AUTO)
    assert new.resumed_from is None
    assert any("step 0" in note for note in new.notes)
    assert_same_bytes(new.run, undisturbed.run)


def test_a_run_killed_before_its_first_checkpoint_starts_over(
    make_contract: MakeContract, undisturbed: TrainReport
) -> None:
    contract = make_contract(**WAYS)
    stop_at(contract, 2)
    shutil.rmtree(contract.output_dir / "checkpoints")
    report = run_training(contract, AUTO)
    assert report.resumed_from is None
    assert steps_told(report.run) == list(range(1, TOTAL_STEPS + 1))
    assert_same_bytes(report.run, undisturbed.run)


def test_a_named_checkpoint_is_gone_on_from(
    make_contract: MakeContract, tmp_path: Path, undisturbed: TrainReport
) -> None:
    contract = make_contract(**WAYS)
    stop_at(contract, 4)
    older, _ = list_checkpoints(contract.output_dir)
    elsewhere = make_contract(output_dir=tmp_path / "elsewhere", **WAYS)
    for source in (older.path, contract.output_dir):
        report = run_training(elsewhere, RunOptions(resume=Resume(source)))
        assert report.resumed_from in (3, 4)
        assert_same_bytes(report.run, undisturbed.run)
        assert run_status(report.run).planned_steps == TOTAL_STEPS
        assert f"step-{report.resumed_from}" in run_status(report.run).checkpoints
        shutil.rmtree(elsewhere.output_dir)
    report = run_training(contract, RunOptions(resume=Resume(older.path)))
    assert report.resumed_from == 3
    assert steps_told(report.run) == list(range(1, TOTAL_STEPS + 1))
    assert_same_bytes(report.run, undisturbed.run)


def test_a_source_that_is_not_a_checkpoint_is_refused(
    make_contract: MakeContract, tmp_path: Path
) -> None:
    contract = make_contract(**WAYS)
    with pytest.raises(ArtifactError, match="MENS-A081"):
        run_training(contract, RunOptions(resume=Resume(tmp_path / "no")))
    assert not contract.output_dir.exists()


def test_a_folder_that_holds_no_run_is_refused_and_untouched(make_contract: MakeContract) -> None:
    contract = make_contract(**WAYS)
    contract.output_dir.mkdir(parents=True)
    (contract.output_dir / "mine").write_bytes(b"x")
    with pytest.raises(PreflightError, match="MENS-E008"):
        run_training(contract, AUTO)
    assert snapshot(contract.output_dir) == {"mine": b"x"}


def test_a_folder_that_another_process_holds_is_refused_and_untouched(
    make_contract: MakeContract,
) -> None:
    contract = make_contract(**WAYS)
    stop_at(contract, 2)
    before = snapshot(contract.output_dir)
    holder = rf"MENS-E004.*process {os.getpid()} on"
    with RunDir.reopen(contract.output_dir), pytest.raises(EnvironmentFailure, match=holder):
        run_training(contract, AUTO)
    assert snapshot(contract.output_dir) == before


def equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_early_stopping_keeps_its_best_adapter_when_resumed(
    make_contract: MakeContract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curve = WrittenCurve(5.0, 4.0, 6.0, 3.0, 3.0, 4.0)
    monkeypatch.setattr("vox_populi.train.engine.mean_loss", curve)
    stopping = {**WAYS, "epochs": 8, "eval_every": 1, "early_stopping_patience": 2}
    every_step = RunOptions(checkpoint_every=1, keep_checkpoints=5)
    undisturbed = run_training(make_contract(output_dir=tmp_path / "u", **stopping), every_step)
    assert undisturbed.stopped_early
    assert undisturbed.steps == 5
    assert undisturbed.heldout_loss_after == 3.0
    final = read_adapter_bin(undisturbed.artifacts["adapter"]).tensors
    kept = {c.step: c.file("adapter.bin") for c in list_checkpoints(undisturbed.run)}
    same = [step for step, file in kept.items() if equal(read_adapter_bin(file).tensors, final)]
    assert same == [3], "the best of five"
    for step in range(1, undisturbed.steps):
        contract = make_contract(output_dir=tmp_path / str(step), **stopping)
        stop_at(contract, step)
        assert_same_bytes(run_training(contract, AUTO).run, undisturbed.run)
    assert curve.left == [], "no run evaluated an adapter that the first did not have"


def test_temporary_folders_of_a_killed_process_are_removed(make_contract: MakeContract) -> None:
    contract = make_contract(**WAYS)
    stop_at(contract, 2)
    leftover = contract.output_dir / "checkpoints" / ".step-9.1234.tmp"
    leftover.mkdir()
    (leftover / "adapter.bin").write_bytes(b"half")
    (contract.output_dir / ".request.json.1234.tmp").write_bytes(b"half")
    run_training(contract, AUTO)
    assert list(contract.output_dir.rglob("*.tmp")) == []


def test_a_disk_that_is_full_at_a_checkpoint_ends_the_run_and_keeps_the_one_before(
    make_contract: MakeContract, monkeypatch: pytest.MonkeyPatch, undisturbed: TrainReport
) -> None:
    contract, sound = make_contract(**WAYS), os.rename

    def rename(source: Any, target: Any, **options: Any) -> None:
        if str(target).endswith("step-3"):
            raise OSError(28, "No space left on device")
        sound(source, target, **options)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(EnvironmentFailure, match=r"MENS-E005.*No space left"):
        run_training(contract, AUTO)
    assert [c.step for c in list_checkpoints(contract.output_dir)] == [1, 2]
    assert run_status(contract.output_dir).state is RunState.FAILED
    monkeypatch.undo()
    report = run_training(contract, AUTO)
    assert report.resumed_from == 2
    assert_same_bytes(report.run, undisturbed.run)


@pytest.mark.parametrize("fault", ["from then on", "kill"])
def test_a_fault_at_any_write_of_a_run_is_survived(
    make_contract: MakeContract, undisturbed: TrainReport, write_faults: Any, fault: str
) -> None:
    """Every seventh write fails, a different one in each round, until the run gets through."""
    contract, kind, at = make_contract(**WAYS), type(write_faults.fault)(fault), 0
    for at in range(1, 2000, 7):
        write_faults.arm(kind, at)
        # Whatever is no kill must be the environment's failure, and nothing else.
        with suppress(BaseException if fault == "kill" else EnvironmentFailure):
            run_training(contract, AUTO)
        fired = write_faults.fired
        write_faults.disarm()
        for checkpoint in list_checkpoints(contract.output_dir):
            check_checkpoint(checkpoint)
        if (contract.output_dir / "model_final.bin").exists():
            assert read_adapter_bin(contract.output_dir / "model_final.bin").tensors
        if not fired:
            break
    assert at > 7 * TOTAL_STEPS
    if fault == "kill":
        assert steps_told(contract.output_dir) == list(range(1, TOTAL_STEPS + 1))
    assert_same_bytes(contract.output_dir, undisturbed.run)
