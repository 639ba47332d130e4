"""QLoRA runs on a base of a few kilobytes: what they leave, and going on."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vox_populi.adapters.adapter import Adapter
from vox_populi.adapters.lora_bin import read_adapter_bin
from vox_populi.adapters.v3.files import read_qlora_adapter
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.qlora_spec import DenseCopiesChoice, QloraGraph
from vox_populi.errors import ArtifactError, RunFailedError
from vox_populi.events import Event, EventName
from vox_populi.kernel.adapted_objective import AdaptedObjective
from vox_populi.model.proxy_stack import ProxyStack
from vox_populi.pipeline.engine_setup import load_objective
from vox_populi.pipeline.status import run_status
from vox_populi.pipeline.stopped_run import RunInterruptedError
from vox_populi.pipeline.train import Resume, RunOptions, TrainReport, plan_training, run_training
from vox_populi.pipeline.trial import try_one_step
from vox_populi.runs.checkpoint_dir import list_checkpoints
from vox_populi.runs.run_history import RunState
from vox_tensor.lora import FrozenLinear
from vox_tensor.lora_spec import LoraSpec

MakeContract = Callable[..., FinetuneContract]
GRAPHS = (QloraGraph.FULL, QloraGraph.PROXY)
ADAPTER_FILES = ("candle_qlora_adapter.safetensors", "candle_qlora_adapter_meta.json")
MANIFEST_V3 = "populi_adapter_manifest_v3.json"
REPRODUCIBLE = (*ADAPTER_FILES, MANIFEST_V3, "training_manifest.json", "MODEL_CARD.md")
WAYS = {"lora": LoraSpec(rank=2, alpha=4.0, dropout=0.2), "batch_size": 1, "grad_accum": 2}
TOTAL_STEPS = 6


class StopAt:
    """Raises SIGTERM when a step's event comes by."""

    def __init__(self, step: int) -> None:
        self.step = step

    def emit(self, event: Event) -> None:
        if event.name is EventName.STEP and event.payload["step"] == self.step:
            signal.raise_signal(signal.SIGTERM)


def adapter_of(report: TrainReport) -> Adapter:
    found, sidecar = read_qlora_adapter(report.artifacts["adapter"])
    assert sidecar.ours is not None
    return found


def manifest_of(report: TrainReport) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(report.artifacts["manifest"].read_text("utf-8"))
    return values


def assert_same_bytes(run: Path, other: Path) -> None:
    for name in REPRODUCIBLE:
        assert (run / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_run_learns_and_leaves_its_adapter_as_a_set_of_files(
    make_qlora: MakeContract, graph: QloraGraph
) -> None:
    report = run_training(make_qlora(graph), RunOptions())
    assert report.steps == TOTAL_STEPS
    assert report.heldout_loss_before is not None
    assert report.heldout_loss_after is not None
    assert report.heldout_loss_after < report.heldout_loss_before
    assert not (report.run / "model_final.bin").exists()
    kinds = {"adapter", "adapter_meta", "adapter_manifest", "manifest", "model_card", "telemetry"}
    assert kinds <= report.artifacts.keys()
    adapter = adapter_of(report)
    assert adapter.header.quantization is not None
    assert all(
        torch.count_nonzero(tensor)
        for name, tensor in adapter.tensors.items()
        if name.endswith(".lora_B")
    )
    manifest = manifest_of(report)
    assert set(manifest["artifacts"]) == {*ADAPTER_FILES, MANIFEST_V3}
    assert manifest["candle_compat_mode"] is True
    assert manifest["graph_id"] == adapter.header.graph
    status = run_status(report.run)
    assert status.state is RunState.COMPLETED
    assert status.artifacts == report.artifacts


def test_each_graph_records_the_name_of_its_loss(make_qlora: MakeContract, tmp_path: Path) -> None:
    said = {}
    for graph in GRAPHS:
        contract = make_qlora(graph, output_dir=tmp_path / graph, max_steps=1)
        manifest = manifest_of(run_training(contract, RunOptions()))
        said[graph] = (manifest["graph_id"], manifest["training_objective_note"])
    assert said == {
        QloraGraph.FULL: ("full_graph_v1", "candle_qlora_full_graph_full_assistant_ce"),
        QloraGraph.PROXY: ("proxy_stack_v1_residual", "candle_qlora_proxy_v1_k1"),
    }


@pytest.mark.parametrize("graph", GRAPHS)
def test_the_layers_planned_for_nf4_are_stored_in_4_bits(
    make_qlora: MakeContract, graph: QloraGraph
) -> None:
    planned = plan_training(make_qlora(graph))
    assert planned.plan.quant is not None
    objective = load_objective(planned, planned.preflight.base_digest()).objective
    assert isinstance(objective, AdaptedObjective)
    found = {
        name.removesuffix(".base")
        for name, layer in objective.model.named_modules()
        if isinstance(layer, FrozenLinear)
    }
    if isinstance(objective.model, ProxyStack):
        assert len(found) == len(objective.model.names)
        found = set(objective.model.names)
    assert found == set(planned.plan.quant.modules)
    assert objective.adapted.keys() == {module.ours for module in planned.plan.adapters}


@pytest.mark.parametrize("graph", GRAPHS)
def test_the_same_run_twice_gives_the_same_bytes(
    make_qlora: MakeContract, tmp_path: Path, graph: QloraGraph
) -> None:
    first = run_training(make_qlora(graph), RunOptions())
    again = run_training(make_qlora(graph, output_dir=tmp_path / "again"), RunOptions())
    other = run_training(make_qlora(graph, output_dir=tmp_path / "other", seed=43), RunOptions())
    assert_same_bytes(again.run, first.run)
    for name in ("candle_qlora_adapter.safetensors", MANIFEST_V3):
        assert (other.run / name).read_bytes() != (first.run / name).read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("graph", GRAPHS)
def test_a_run_resumed_after_any_step_ends_in_the_same_bytes(
    make_qlora: MakeContract, tmp_path: Path, graph: QloraGraph
) -> None:
    undisturbed = run_training(make_qlora(graph, output_dir=tmp_path / "u", **WAYS), RunOptions())
    for step in range(1, TOTAL_STEPS):
        contract = make_qlora(graph, output_dir=tmp_path / str(step), **WAYS)
        with pytest.raises(RunInterruptedError):
            run_training(contract, RunOptions(), [StopAt(step)])
        (*_, checkpoint) = list_checkpoints(contract.output_dir)
        header = read_adapter_bin(checkpoint.file("adapter.bin")).header
        assert header.quantization is not None
        assert header.step == step
        report = run_training(contract, RunOptions(resume=Resume()))
        assert report.resumed_from == step
        assert_same_bytes(report.run, undisturbed.run)


def test_a_run_resumes_from_a_checkpoint_in_another_folder(
    make_qlora: MakeContract, tmp_path: Path
) -> None:
    watched = run_training(
        make_qlora(output_dir=tmp_path / "watched", **WAYS), RunOptions(checkpoint_every=2)
    )
    source = next(each for each in list_checkpoints(watched.run) if each.step == 4).path
    contract = make_qlora(output_dir=tmp_path / "on", **WAYS)
    report = run_training(contract, RunOptions(resume=Resume(source=source)))
    assert report.resumed_from == 4
    assert_same_bytes(report.run, watched.run)
    other = make_qlora(output_dir=tmp_path / "other", spec={"block_size": 32}, **WAYS)
    with pytest.raises(RunFailedError, match=r"MENS-R021.*--nf4-block-size"):
        run_training(other, RunOptions(resume=Resume(source=source)))


@pytest.mark.parametrize("graph", GRAPHS)
def test_dense_copies_of_any_age_give_the_same_bytes(
    make_qlora: MakeContract, tmp_path: Path, graph: QloraGraph
) -> None:
    adapters = []
    for copies in (DenseCopiesChoice.NONE, DenseCopiesChoice.LAYER, DenseCopiesChoice.STEP):
        contract = make_qlora(
            graph, spec={"dense_copies": copies}, output_dir=tmp_path / copies, **WAYS
        )
        report = run_training(contract, RunOptions())
        adapters.append(report.artifacts["adapter"].read_bytes())
    assert adapters[0] == adapters[1] == adapters[2]
    contract = make_qlora(graph, spec={"block_size": 32}, output_dir=tmp_path / "o", **WAYS)
    other = run_training(contract, RunOptions())
    assert other.artifacts["adapter"].read_bytes() != adapters[0], "quantising must matter"


def test_a_finished_run_is_not_done_again_and_every_file_of_it_is_checked(
    make_qlora: MakeContract,
) -> None:
    contract = make_qlora()
    first = run_training(contract, RunOptions())
    again = run_training(contract, RunOptions(resume=Resume()))
    assert again.resumed_from == first.steps
    assert again.artifacts == first.artifacts
    for kind in ("adapter", "adapter_meta", "adapter_manifest"):
        sound = first.artifacts[kind].read_bytes()
        first.artifacts[kind].write_bytes(sound + b" ")
        with pytest.raises(ArtifactError, match="MENS-A08"):
            run_training(contract, RunOptions(resume=Resume()))
        first.artifacts[kind].write_bytes(sound)


def test_a_cached_base_gives_the_same_bytes(make_qlora: MakeContract, tmp_path: Path) -> None:
    plain = run_training(make_qlora(output_dir=tmp_path / "plain"), RunOptions())
    cache = tmp_path / "cache"
    notes = []
    for name in ("making", "using"):
        contract = make_qlora(spec={"cache_dir": cache}, output_dir=tmp_path / name)
        report = run_training(contract, RunOptions())
        assert_same_bytes(report.run, plain.run)
        notes.append(report.notes)
    (entry,) = cache.iterdir()
    assert any("kept it in" in note for note in notes[0])
    assert any("Read the quantised base from" in note for note in notes[1])
    shard = next(entry.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"!")
    contract = make_qlora(spec={"cache_dir": cache}, output_dir=tmp_path / "damaged")
    report = run_training(contract, RunOptions())
    assert any("was damaged" in note for note in report.notes)
    assert_same_bytes(report.run, plain.run)


@pytest.mark.parametrize("graph", GRAPHS)
def test_reports_and_telemetry_say_whose_loss_it_is(
    make_qlora: MakeContract, graph: QloraGraph
) -> None:
    report = run_training(make_qlora(graph), RunOptions())
    manifest = manifest_of(report)
    assert report.graph_id == manifest["graph_id"] == run_status(report.run).graph_id
    assert (report.graph_id == "full_graph_v1") is (graph is QloraGraph.FULL)
    lines = report.artifacts["telemetry"].read_text(encoding="utf-8").splitlines()
    (complete,) = (json.loads(line)["payload"] for line in lines if '"train_complete"' in line)
    for name in ("skips_bad_vocab", "skips_last_hidden", "skips_short_seq", "ce_last_k"):
        written = complete["candle_qlora_ce_last_k" if name == "ce_last_k" else name]
        assert written == manifest[f"candle_qlora_{name}"]


def test_the_trial_leaves_nothing_in_the_cache(make_qlora: MakeContract, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    contract = make_qlora(spec={"cache_dir": cache}, output_dir=tmp_path / "run")
    trial = try_one_step(contract)
    assert not cache.exists()
    report = run_training(contract, RunOptions())
    assert trial.heldout_loss == report.heldout_loss_before
    assert list(cache.iterdir())


@pytest.mark.parametrize("graph", GRAPHS)
def test_the_trial_saves_and_evaluates_what_the_run_will(
    make_qlora: MakeContract, graph: QloraGraph
) -> None:
    contract = make_qlora(graph)
    trial = try_one_step(contract)
    assert not contract.output_dir.exists()
    report = run_training(contract, RunOptions())
    files = ("adapter", "adapter_meta", "adapter_manifest")
    size = sum(report.artifacts[kind].stat().st_size for kind in files)
    assert trial.heldout_loss == report.heldout_loss_before
    assert abs(trial.adapter_bytes - size) < len(files), "the step number may have fewer digits"
