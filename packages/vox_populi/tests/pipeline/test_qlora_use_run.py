"""Who takes the adapter of a QLoRA run, and who refuses it: models that run, exports, new runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vox_populi.adapters.adapter import Adapter
from vox_populi.adapters.v3.files import read_qlora_adapter
from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.qlora_spec import QloraGraph
from vox_populi.errors import ArtifactError
from vox_populi.export.consumers import Consumer
from vox_populi.hf.embedded import EMBEDDED_NAME
from vox_populi.hf.model_config import ModelConfig
from vox_populi.kernel import builders
from vox_populi.kernel.nf4_backend import Nf4Backend
from vox_populi.pipeline import engine_setup, load_model
from vox_populi.pipeline.evaluate import EvalRequest, evaluate
from vox_populi.pipeline.export import ExportRequest, export_adapter
from vox_populi.pipeline.generate import GenerateRequest, Prompt, generate
from vox_populi.pipeline.quantize import QuantizeRequest, quantize_model
from vox_populi.pipeline.train import RunOptions, TrainReport, run_training
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_populi.runs.checkpoint_dir import list_checkpoints
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.nf4 import dequantize_nf4

MakeContract = Callable[..., FinetuneContract]
GRAPHS = (QloraGraph.FULL, QloraGraph.PROXY)
TOTAL_STEPS = 6


def adapter_of(report: TrainReport) -> Adapter:
    found, sidecar = read_qlora_adapter(report.artifacts["adapter"])
    assert sidecar.ours is not None
    return found


def loss_of(data: Path, **weights: Any) -> float:
    return evaluate(EvalRequest(data=data, weights=WeightsChoice(threads=1, **weights))).loss


def test_run_and_checkpoint_have_the_losses_of_training(make_qlora: MakeContract) -> None:
    spec = {"block_size": 32, "double_quant": False}
    contract = make_qlora(spec=spec)
    report = run_training(contract, RunOptions(checkpoint_every=TOTAL_STEPS))
    data = contract.data_paths[0] / "valid.jsonl"
    (*_, checkpoint) = list_checkpoints(report.run)
    assert loss_of(data, run=report.run) == report.heldout_loss_after
    assert loss_of(data, checkpoint=checkpoint.path) == report.heldout_loss_after
    file = report.artifacts["adapter"]
    assert loss_of(data, checkpoint=file, model_dir=contract.model_dir) == report.heldout_loss_after
    compared = evaluate(
        EvalRequest(data=data, weights=WeightsChoice(run=report.run, threads=1), compare_base=True)
    )
    assert compared.base is not None
    assert compared.base.loss == report.heldout_loss_before, "the base as training held it"
    bare = loss_of(data, model_dir=contract.model_dir, tokenizer=TokenizerKind.HF)
    assert bare != report.heldout_loss_before, "the base without NF4 has another loss"


def test_notes_say_if_slower_ways_are_taken_to_dequantise_and_to_attend(
    make_qlora: MakeContract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, by_rows, by_torch = "no Triton for NF4", "attention row by row", "norm by torch"
    asked = []

    def choose(device: str, dtype: torch.dtype, block_size: int) -> Nf4Backend:
        asked.append((device, dtype, block_size))
        return Nf4Backend(dequantize_nf4, notes=(said,))

    def attend(device: str, dtype: torch.dtype, config: ModelConfig) -> tuple[str, ...]:
        assert (device, dtype, config.model_type) == ("cpu", torch.float32, "llama")
        return (by_rows,)

    for module in (engine_setup, load_model):
        monkeypatch.setattr(module, "attention_notes", attend)
        monkeypatch.setattr(module, "pointwise_notes", lambda *kind: (by_torch,))
    for module in (engine_setup, builders, load_model):
        monkeypatch.setattr(module, "choose_nf4_backend", choose)
    spec = {"block_size": 32}
    proxy = make_qlora(QloraGraph.PROXY, spec=spec, output_dir=tmp_path / "proxy", max_steps=1)
    notes = run_training(proxy, RunOptions()).notes
    assert said in notes
    assert {by_rows, by_torch}.isdisjoint(notes), "the proxy graph has no attention and no norm"
    contract = make_qlora(spec=spec, output_dir=tmp_path / "full", max_steps=1)
    assert {said, by_rows, by_torch} <= set(run_training(contract, RunOptions()).notes)
    choice = WeightsChoice(run=contract.output_dir, threads=1)
    data = contract.data_paths[0] / "valid.jsonl"
    assert {said, by_rows, by_torch} <= set(evaluate(EvalRequest(data=data, weights=choice)).notes)
    assert set(asked) == {("cpu", torch.float32, 32)}
    bare = WeightsChoice(model_dir=contract.model_dir, tokenizer=TokenizerKind.HF, threads=1)
    assert said not in evaluate(EvalRequest(data=data, weights=bare)).notes


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_base_that_was_quantised_before_trains_to_the_same_adapter(
    make_qlora: MakeContract, tmp_path: Path, graph: QloraGraph
) -> None:
    contract = make_qlora(graph)
    assert contract.model_dir is not None
    packed = tmp_path / "models" / "packed"
    quantize_model(QuantizeRequest(model_dir=contract.model_dir, output=packed))
    dense = run_training(contract, RunOptions())
    report = run_training(
        make_qlora(graph, model_dir=packed, output_dir=tmp_path / "packed-run"), RunOptions()
    )
    assert report.heldout_loss_after == dense.heldout_loss_after
    name = "candle_qlora_adapter.safetensors"
    assert (report.run / name).read_bytes() == (dense.run / name).read_bytes()
    assert adapter_of(report).header.base_digest != adapter_of(dense).header.base_digest
    if graph is QloraGraph.PROXY:
        return
    data = contract.data_paths[0] / "valid.jsonl"
    assert loss_of(data, run=report.run) == report.heldout_loss_after
    compared = evaluate(
        EvalRequest(data=data, weights=WeightsChoice(run=report.run, threads=1), compare_base=True)
    )
    assert compared.base is not None
    assert compared.base.loss == report.heldout_loss_before, "the base as training held it"
    bare = loss_of(data, model_dir=packed, tokenizer=TokenizerKind.HF)
    assert bare == report.heldout_loss_before
    with pytest.raises(ArtifactError, match="MENS-A011"):
        loss_of(data, run=report.run, model_dir=contract.model_dir)


def test_an_adapter_without_our_manifest_does_not_say_where_it_belongs(
    make_qlora: MakeContract,
) -> None:
    contract = make_qlora()
    report = run_training(contract, RunOptions())
    report.artifacts["adapter_manifest"].unlink()
    file = report.artifacts["adapter"]
    with pytest.raises(ArtifactError, match=r"MENS-A542.*merge-qlora"):
        loss_of(
            contract.data_paths[0] / "valid.jsonl", checkpoint=file, model_dir=contract.model_dir
        )


def test_a_qlora_run_can_generate(make_qlora: MakeContract) -> None:
    report = run_training(make_qlora(), RunOptions())
    weights = WeightsChoice(run=report.run, threads=1)
    request = GenerateRequest(weights=weights, prompts=(Prompt(text="Say one."),))
    (answer,) = list(generate(request))
    assert answer.ids


@pytest.mark.parametrize("lm_head_only", [False, True])
def test_a_proxy_adapter_is_refused_as_a_language_model(
    make_qlora: MakeContract, tmp_path: Path, *, lm_head_only: bool
) -> None:
    spec = {"lm_head_only": lm_head_only}
    contract = make_qlora(QloraGraph.PROXY, spec=spec)
    report = run_training(contract, RunOptions(checkpoint_every=TOTAL_STEPS))
    (*_, checkpoint) = list_checkpoints(report.run)
    data = contract.data_paths[0] / "valid.jsonl"
    for chosen in ({"run": report.run}, {"checkpoint": checkpoint.path}):
        with pytest.raises(ArtifactError, match=r"MENS-A540.*merge-qlora"):
            loss_of(data, **chosen)
    request = ExportRequest(source=report.run, consumer=Consumer.PEFT, output_dir=tmp_path / "peft")
    with pytest.raises(ArtifactError, match=r"MENS-A541.*merge-qlora"):
        export_adapter(request)
    assert not (tmp_path / "peft").exists()


def test_a_full_graph_adapter_is_exported_for_peft(
    make_qlora: MakeContract, tmp_path: Path
) -> None:
    report = run_training(make_qlora(), RunOptions())
    request = ExportRequest(source=report.run, consumer=Consumer.PEFT, output_dir=tmp_path / "peft")
    exported = export_adapter(request)
    assert "adapter_model.safetensors" in exported.files
    assert exported.modules == len(adapter_of(report).header.modules)
    assert any("NF4" in note for note in exported.notes)


def test_either_backends_adapter_can_start_a_run_of_the_other(
    make_qlora: MakeContract, make_contract: MakeContract, tmp_path: Path
) -> None:
    lora = run_training(
        make_contract(tokenizer=TokenizerKind.HF, output_dir=tmp_path / "lora"), RunOptions()
    )
    start = lora.artifacts["adapter"]
    qlora = run_training(make_qlora(init_from=start), RunOptions())
    assert any("on the dense base; this run" in note for note in qlora.notes)
    fresh = run_training(make_qlora(output_dir=tmp_path / "fresh"), RunOptions())
    assert qlora.heldout_loss_before is not None
    assert fresh.heldout_loss_before is not None
    assert qlora.heldout_loss_before < fresh.heldout_loss_before
    back = run_training(
        make_contract(
            tokenizer=TokenizerKind.HF,
            output_dir=tmp_path / "back",
            init_from=qlora.artifacts["adapter"],
        ),
        RunOptions(),
    )
    assert any("on the NF4 base; this run" in note for note in back.notes)


def test_an_adapter_of_other_places_starts_nothing(
    make_qlora: MakeContract, tmp_path: Path
) -> None:
    proxy = run_training(make_qlora(QloraGraph.PROXY), RunOptions())
    start = proxy.artifacts["adapter"]
    with pytest.raises(ArtifactError, match=r"MENS-A084.*its graph is proxy_stack_v1_residual"):
        run_training(make_qlora(init_from=start, output_dir=tmp_path / "full"), RunOptions())
    rank = LoraSpec(rank=3, alpha=4.0, dropout=0.1)
    with pytest.raises(ArtifactError, match=r"MENS-A084.*its rank is 2"):
        run_training(
            make_qlora(QloraGraph.PROXY, init_from=start, lora=rank, output_dir=tmp_path / "proxy"),
            RunOptions(),
        )


def test_without_a_model_the_embedded_base_is_trained(
    make_qlora: MakeContract, tmp_path: Path
) -> None:
    report = run_training(make_qlora(model_dir=None, max_steps=2), RunOptions())
    adapter = adapter_of(report)
    assert adapter.header.base_name == EMBEDDED_NAME
    assert report.heldout_loss_after != report.heldout_loss_before
    shutil.move(report.run, tmp_path / "moved")
    data = tmp_path / "data" / "valid.jsonl"
    assert loss_of(data, run=tmp_path / "moved") == report.heldout_loss_after
