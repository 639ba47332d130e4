"""A whole run on a base of a few kilobytes: files, repeatability, refusals, interruption."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from packages.vox_populi.tests.pipeline.conftest import HANGUP
from vox_populi.adapters.lora_bin import read_adapter_bin
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.errors import EnvironmentFailure, ModelError, PreflightError, RunFailedError
from vox_populi.events import Event, EventName
from vox_populi.files.folder_lock import LOCK_NAME
from vox_populi.kernel.adapted_objective import AdaptedObjective
from vox_populi.pipeline.status import run_status
from vox_populi.pipeline.stopped_run import RunInterruptedError
from vox_populi.pipeline.train import RunOptions, run_training
from vox_populi.runs.manifest import read_manifest
from vox_populi.runs.run_dir import KNOWN_FILES, RunDir
from vox_populi.runs.run_history import RunState
from vox_populi.runs.telemetry import read_telemetry

MakeContract = Callable[..., FinetuneContract]
BEGUN = {"request.json", "training-preflight.json", "check_rows.json", "telemetry.jsonl"}
REPRODUCIBLE = ("model_final.bin", "training_manifest.json", "MODEL_CARD.md")


class Recorder:
    def __init__(self) -> None:
        self.names: list[EventName] = []

    def emit(self, event: Event) -> None:
        self.names.append(event.name)


def files_of(run: Path) -> set[str]:
    return {entry.name for entry in run.iterdir()}


def events_of(run: Path) -> list[tuple[str, dict[str, object]]]:
    lines = list(read_telemetry(run / "telemetry.jsonl"))
    assert None not in lines
    return [(line.event, line.payload) for line in lines if line is not None]


def test_a_run_leaves_every_file_and_no_lock(make_contract: MakeContract) -> None:
    contract, recorder = make_contract(), Recorder()
    report = run_training(contract, RunOptions(samples=1), [recorder])
    assert files_of(report.run) == {*KNOWN_FILES.values(), "checkpoints"}
    assert report.artifacts == {
        kind: contract.output_dir / name for kind, name in KNOWN_FILES.items()
    }
    assert report.steps == report.planned_steps == 6
    assert report.heldout_loss_before is not None
    assert report.heldout_loss_after is not None
    assert report.heldout_loss_after < report.heldout_loss_before
    assert [point.step for point in report.evaluations] == [0, 3, 6]
    assert recorder.names[0] is EventName.TRAIN_START
    assert recorder.names[-1] is EventName.TRAIN_COMPLETE
    assert recorder.names.count(EventName.STEP) == 6
    document = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert {"run", "steps", "supervised_tokens", "seconds", "tokens_per_second"} <= set(document)


def test_the_adapter_learned_and_names_its_base_by_digest(make_contract: MakeContract) -> None:
    report = run_training(make_contract(), RunOptions())
    adapter = read_adapter_bin(report.artifacts["adapter"])
    b_tensors = [t for name, t in adapter.tensors.items() if name.endswith(".lora_B")]
    assert all(torch.count_nonzero(tensor) for tensor in b_tensors)
    manifest = read_manifest(report.artifacts["manifest"])
    assert adapter.header.base_digest == manifest["base_digest"]
    assert adapter.header.contract_digest == manifest["finetune_contract_digest"]
    assert adapter.header.step == 6
    record = json.loads(report.artifacts["preflight"].read_text("utf-8"))
    assert record == {
        "schema_version": "vox.mens.preflight.v0",
        "contract_digest": adapter.header.contract_digest,
        "execution_kernel": "lora",
    }


def test_the_same_run_twice_gives_the_same_bytes(
    make_contract: MakeContract, tmp_path: Path
) -> None:
    first = run_training(make_contract(), RunOptions())
    moved = tmp_path / "elsewhere" / "data"
    shutil.copytree(tmp_path / "data", moved)
    again = run_training(
        make_contract(data_dir=moved, output_dir=tmp_path / "second"), RunOptions(log_every=1)
    )
    other = run_training(make_contract(output_dir=tmp_path / "third", seed=43), RunOptions())
    for name in REPRODUCIBLE:
        expected = (first.run / name).read_bytes()
        assert (again.run / name).read_bytes() == expected
        assert (other.run / name).read_bytes() != expected


def test_no_file_names_where_anything_lay_or_who_ran_it(
    make_contract: MakeContract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "node", lambda: "canary-host")
    monkeypatch.setenv("USER", "canary-user")
    report = run_training(make_contract(), RunOptions())
    for file in report.run.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        assert str(tmp_path).encode() not in content, file.name
        assert tmp_path.name.encode() not in content, file.name
        assert b"canary" not in content, file.name


def test_telemetry_tells_the_whole_story(make_contract: MakeContract) -> None:
    report = run_training(make_contract(), RunOptions(log_every=4))
    events = events_of(report.run)
    start, end = events[0], events[-1]
    assert start[0] == "train_start"
    assert start[1]["execution_kernel"] == "burn_lora"
    assert start[1]["planned_steps_total"] == 6
    assert end[0] == "train_complete"
    assert end[1]["ok"] is True
    steps = [payload for name, payload in events if name == "step"]
    assert [step["step"] for step in steps] == [1, 2, 3, 4, 5, 6], "whatever --log-every is"
    last_step = steps[-1]
    left = [step["eta_seconds_remaining"] for step in steps]
    assert left[:4] == [None] * 4, "the first steps say nothing about the others"
    assert isinstance(left[4], float)
    assert left[5] == 0.0
    assert last_step["step"] == 6
    assert last_step["supervised_tokens_total"] == report.supervised_tokens
    status = run_status(report.run)
    assert status.state is RunState.COMPLETED
    assert (status.step, status.planned_steps, status.epoch) == (6, 6, 2)
    assert status.heldout_loss == report.heldout_loss_after
    assert status.supervised_tokens == report.supervised_tokens
    assert status.tokens_per_second == report.tokens_per_second


def test_an_occupied_folder_is_refused_and_untouched(make_contract: MakeContract) -> None:
    contract = make_contract()
    contract.output_dir.mkdir(parents=True)
    (contract.output_dir / "mine").write_bytes(b"x")
    with pytest.raises(PreflightError, match="MENS-E001"):
        run_training(contract, RunOptions())
    assert files_of(contract.output_dir) == {"mine"}
    report = run_training(contract, RunOptions(force=True))
    assert "mine" not in files_of(report.run)
    assert files_of(contract.output_dir.with_name("first.old-1")) == {"mine"}


def test_a_held_folder_is_refused_and_untouched(make_contract: MakeContract) -> None:
    contract = make_contract()
    with RunDir.create(contract.output_dir):
        with pytest.raises(EnvironmentFailure, match=rf"MENS-E004.*process {os.getpid()} on"):
            run_training(contract, RunOptions(force=True))
        assert files_of(contract.output_dir) == {LOCK_NAME}


@pytest.fixture
def breaking_loss(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, float], None]:
    """Make the loss of the row on one line something else."""
    sound = AdaptedObjective.loss_sum

    def install(line: int, value: float) -> None:
        def loss_sum(self: AdaptedObjective[Any], batch: Any) -> Any:
            loss = sound(self, batch)
            return loss * value if line in batch.rows else loss

        monkeypatch.setattr(AdaptedObjective, "loss_sum", loss_sum)

    return install


def break_embedding(model_dir: Path) -> None:
    """Put a NaN into the first weight of the file, which the header cannot show."""
    path = model_dir / "model.safetensors"
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    data[start : start + 4] = struct.pack("<f", float("nan"))
    path.write_bytes(data)


@pytest.mark.parametrize("force", [False, True])
def test_a_refusal_that_only_the_weights_show_leaves_nothing_behind(
    make_contract: MakeContract, force: bool
) -> None:
    class Listener:
        def __init__(self) -> None:
            self.names: list[EventName] = []

        def emit(self, event: Event) -> None:
            self.names.append(event.name)

    contract = make_contract()
    folder = contract.output_dir
    if force:
        run_training(contract, RunOptions())
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert contract.model_dir is not None
    sound = (contract.model_dir / "model.safetensors").read_bytes()
    break_embedding(contract.model_dir)
    listener = Listener()
    with pytest.raises(ModelError, match="MENS-H061"):
        run_training(contract, RunOptions(force=force), [listener])
    assert listener.names == [EventName.TRAIN_START, EventName.TRAIN_FAILED]
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert folder.parent.exists() == force
    (contract.model_dir / "model.safetensors").write_bytes(sound)
    run_training(contract, RunOptions(force=force))
    names = [name for name, _ in events_of(folder)]
    assert (names[0], names[-1]) == ("train_start", "train_complete")


def test_a_loss_that_is_not_finite_names_file_and_line_and_leaves_no_adapter(
    make_contract: MakeContract, breaking_loss: Callable[[int, float], None]
) -> None:
    contract = make_contract(validation_split_ratio=0.0)
    (contract.data_paths[0] / "valid.jsonl").unlink()
    breaking_loss(4, float("nan"))
    with pytest.raises(RunFailedError, match=r"MENS-R001.*train\.jsonl:4: the loss") as caught:
        run_training(contract, RunOptions())
    assert len(caught.value.problems) == 1
    assert files_of(contract.output_dir) == BEGUN
    name, payload = events_of(contract.output_dir)[-1]
    assert name == "train_failed"
    assert payload["codes"] == ["MENS-R001"]
    assert payload["places"] == ["line 4"]
    assert str(contract.data_dir) not in str(payload)
    status = run_status(contract.output_dir)
    assert status.state is RunState.FAILED
    assert status.failure == payload["message"]


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.usefixtures("hangup_counts")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (HANGUP, 129)]
)
def test_a_signal_stops_the_run_at_the_next_step_border(
    make_contract: MakeContract, number: signal.Signals, code: int
) -> None:
    class Interrupter:
        def emit(self, event: Event) -> None:
            if event.name is EventName.STEP and event.payload["step"] == 2:
                signal.raise_signal(number)

    contract = make_contract()
    with pytest.raises(RunInterruptedError, match="after step 2") as caught:
        run_training(contract, RunOptions(), [Interrupter()])
    assert caught.value.exit_code == code
    assert files_of(contract.output_dir) == {*BEGUN, "checkpoints"}
    status = run_status(contract.output_dir)
    assert (status.state, status.step) == (RunState.INTERRUPTED, 2)
    assert status.checkpoints == ("step-2",)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_running_out_of_memory_is_the_environments_failure(
    make_contract: MakeContract, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(AdaptedObjective, "loss_sum", fail)
    with pytest.raises(EnvironmentFailure, match=r"MENS-E006.*--batch-size"):
        run_training(make_contract(), RunOptions())


def test_a_bug_stays_a_bug_and_is_on_record(
    make_contract: MakeContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        message = "secret text"
        raise RuntimeError(message)

    monkeypatch.setattr(AdaptedObjective, "loss_sum", fail)
    contract = make_contract()
    with pytest.raises(RuntimeError, match="secret text"):
        run_training(contract, RunOptions())
    _, payload = events_of(contract.output_dir)[-1]
    assert payload["message"] == "RuntimeError"
    assert LOCK_NAME not in files_of(contract.output_dir)


def test_a_disk_that_fails_at_any_write_leaves_no_torn_file(
    make_contract: MakeContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = make_contract(max_steps=1)
    sound = os.fsync
    refusals: list[str] = []
    calls = 0
    failing = 0

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(28, "No space left on device")
        sound(descriptor)

    monkeypatch.setattr("vox_tensor.atomic_file.os.fsync", fsync)
    while True:
        failing, calls = failing + 1, 0
        try:
            run_training(contract, RunOptions(force=True))
        except EnvironmentFailure as error:
            refusals.append(str(error))
        # Telemetry that cannot be flushed ends the record, not the run.
        if calls < failing:
            break
        check_files_are_whole(contract.output_dir)
    assert all("MENS-E005" in text and "No space left" in text for text in refusals)
    assert len(refusals) > len(KNOWN_FILES), "every file was failed at least once"


def check_files_are_whole(run: Path) -> None:
    names = files_of(run)
    assert names <= {*KNOWN_FILES.values(), "checkpoints"}
    if "model_final.bin" in names:
        assert read_adapter_bin(run / "model_final.bin").tensors
    for name in names & {"training_manifest.json", "run_times.json", "request.json"}:
        assert json.loads((run / name).read_text("utf-8"))


def test_threads_are_given_back(make_contract: MakeContract) -> None:
    before = torch.get_num_threads()
    run_training(make_contract(threads=1 if before > 1 else 2), RunOptions())
    assert torch.get_num_threads() == before
