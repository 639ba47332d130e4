"""Runs with each optimizer that are stopped and resumed, and what their checkpoints hold."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from vox_populi.adapters.lora_bin import read_adapter_bin
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.optimizer_choice import OptimizerKind
from vox_populi.errors import RunFailedError
from vox_populi.events import Event, EventName
from vox_populi.files.json_fields import take_object
from vox_populi.pipeline.stopped_run import RunInterruptedError
from vox_populi.pipeline.train import Resume, RunOptions, run_training
from vox_populi.runs.checkpoint_dir import list_checkpoints
from vox_populi.runs.manifest import read_manifest
from vox_tensor.lora_spec import LoraSpec

MakeContract = Callable[..., FinetuneContract]
AUTO = RunOptions(resume=Resume(), checkpoint_every=1)
WAYS = {"lora": LoraSpec(rank=2, alpha=4.0, dropout=0.2), "batch_size": 1, "grad_accum": 2}

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


class StopAt:
    def __init__(self, step: int) -> None:
        self.step = step

    def emit(self, event: Event) -> None:
        if event.name is EventName.STEP and event.payload["step"] == self.step:
            signal.raise_signal(signal.SIGTERM)


def stop_at(contract: FinetuneContract, step: int) -> None:
    with pytest.raises(RunInterruptedError):
        run_training(contract, AUTO, [StopAt(step)])


@pytest.mark.parametrize("kind", [OptimizerKind.LION, OptimizerKind.ADAMW8BIT])
def test_a_run_with_another_optimizer_is_stopped_resumed_and_kept_to_it(
    make_contract: MakeContract, tmp_path: Path, kind: OptimizerKind
) -> None:
    ways = {**WAYS, "optimizer": kind}
    expected = run_training(make_contract(output_dir=tmp_path / "whole", **ways), RunOptions())
    adamw = run_training(make_contract(output_dir=tmp_path / "adamw", **WAYS), RunOptions())
    final = [report.run.joinpath("model_final.bin").read_bytes() for report in (expected, adamw)]
    assert final[0] != final[1]
    contract = make_contract(**ways)
    stop_at(contract, 4)
    before = sorted(contract.output_dir.rglob("*"))
    with pytest.raises(RunFailedError) as caught:
        run_training(make_contract(**WAYS), AUTO)
    assert [problem.code for problem in caught.value.problems] == ["MENS-R100"]
    assert sorted(contract.output_dir.rglob("*")) == before
    assert run_training(contract, AUTO).resumed_from == 4
    for name in ("model_final.bin", "training_manifest.json", "MODEL_CARD.md", "request.json"):
        assert (contract.output_dir / name).read_bytes() == (expected.run / name).read_bytes()
    manifest = read_manifest(contract.output_dir / "training_manifest.json")
    assert take_object(manifest, "optimizer")["name"] == kind.value
    (newest,) = list_checkpoints(contract.output_dir)[-1:]
    values = json.loads(newest.file("state.json").read_bytes())
    assert values["schema_version"] == 2, "a program that knows only AdamW must say so"


def test_a_checkpoint_of_adamw_is_of_the_version_that_older_programs_read(
    make_contract: MakeContract,
) -> None:
    contract = make_contract(**WAYS)
    stop_at(contract, 2)
    (newest,) = list_checkpoints(contract.output_dir)[-1:]
    values = json.loads(newest.file("state.json").read_bytes())
    assert values["schema_version"] == 1
    names = set(load_file(newest.file("optimizer.safetensors")))
    adapter = set(read_adapter_bin(newest.file("adapter.bin")).tensors)
    moments = {f"{moment}_moment.{name}" for moment in ("first", "second") for name in adapter}
    assert names == moments | {"stream.dropout"}


def test_a_checkpoint_with_the_state_of_another_optimizer_is_damaged(
    make_contract: MakeContract,
) -> None:
    contract = make_contract(**WAYS)
    stop_at(contract, 2)
    newest, older = reversed(list_checkpoints(contract.output_dir))
    tensors = load_file(newest.file("optimizer.safetensors"))
    kept = {name: t for name, t in tensors.items() if not name.startswith("second")}
    save_file(kept, newest.file("optimizer.safetensors"))
    manifest = json.loads(newest.file("manifest.json").read_bytes())
    data = newest.file("optimizer.safetensors").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    manifest["files"]["optimizer.safetensors"] = {"bytes": len(data), "sha256": digest}
    newest.file("manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    report = run_training(contract, AUTO)
    assert report.resumed_from == older.step
    assert any("does not fit adapter.bin" in note for note in report.notes)
