"""QLoRA end to end on a tiny model of every family, from its own `save_pretrained` folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests_integration.tiny_models import FAMILY_CASES, N_LAYERS, write_tiny_model
from tests_integration.tolerances import F32_ACCUMULATED, F32_GRAD, assert_parity, differs
from vox_populi.adapters.adapter import Adapter
from vox_populi.adapters.v3.files import read_qlora_adapter
from vox_populi.contract.choices import Backend, TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.qlora_spec import QloraGraph, QloraSpec
from vox_populi.kernel.adapted_objective import AdaptedObjective
from vox_populi.pipeline.engine_setup import load_objective
from vox_populi.pipeline.train import RunOptions, TrainReport, plan_training, run_training
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.nf4 import dequantize_nf4, quantize_nf4
from vox_tensor.nf4_weight import Nf4Weight

WORDS = ("red", "green", "blue", "one", "two", "three", "north", "south")
NARROW_PROJECTION = {"gemma2", "gemma3", "ministral3", "qwen3"}
"""Families here whose output projection is not square: they have no stack, only a head."""


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, first in (("train", 0), ("valid", 3)):
        rows = [
            {"prompt": f"say {word} {'again ' * (i % 5)}", "response": f"{word} it is, {word}"}
            for i, word in enumerate(WORDS[first:] * 3)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder


def request(tmp_path: Path, run: str, graph: QloraGraph, **changes: Any) -> FinetuneContract:
    settings: dict[str, Any] = {
        "data_dir": tmp_path / "data",
        "output_dir": tmp_path / run,
        "model_dir": tmp_path / "base",
        "tokenizer": TokenizerKind.HF,
        "backend": Backend.QLORA,
        "qlora": QloraSpec(graph=graph),
        "lora": LoraSpec(rank=4, alpha=8.0),
        "epochs": 2,
        "batch_size": 8,
        "grad_accum": 1,
        "seq_len": 96,
        "learning_rate": 5e-3,
        "warmup_steps": 1,
        "threads": 1,
    }
    return FinetuneContract.of(**{**settings, **changes})


def train(tmp_path: Path, run: str, graph: QloraGraph, **changes: Any) -> TrainReport:
    return run_training(request(tmp_path, run, graph, **changes), RunOptions())


def adapter_of(report: TrainReport) -> Adapter:
    found, sidecar = read_qlora_adapter(report.artifacts["adapter"])
    assert sidecar.ours is not None
    return found


@pytest.mark.parametrize("graph", list(QloraGraph))
@pytest.mark.parametrize("name", FAMILY_CASES)
@pytest.mark.requirement("12")
def test_every_family_learns_on_a_4_bit_base(
    name: str, graph: QloraGraph, tmp_path: Path, data_dir: Path
) -> None:
    write_tiny_model(tmp_path / "base", name, tokenizer=True, sharded=True)
    report = train(tmp_path, "run", graph)
    assert report.heldout_loss_before is not None
    assert report.heldout_loss_after is not None
    assert report.heldout_loss_after < report.heldout_loss_before
    manifest = json.loads((tmp_path / "run" / "training_manifest.json").read_text("utf-8"))
    v3 = json.loads((tmp_path / "run" / "populi_adapter_manifest_v3.json").read_text("utf-8"))
    assert manifest["execution_kernel"] == "candle_qlora"
    assert manifest["candle_compat_mode"] is v3["candle_compat_mode"] is True
    assert manifest["graph_id"] == v3["graph_id"]
    assert manifest["trainable_projection_stack"] == v3["layer_order"]
    adapted = adapter_of(report)
    names = v3["layer_order"]
    assert len(names) == len(adapted.header.modules)
    if graph is QloraGraph.PROXY:
        stack = [] if name in NARROW_PROJECTION else [f"mid{i}" for i in range(N_LAYERS)]
        assert names == [*stack, "lm_head"]


@pytest.mark.parametrize("graph", list(QloraGraph))
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_eight_rows_at_once_equal_one_row_eight_times(
    name: str, graph: QloraGraph, tmp_path: Path, data_dir: Path
) -> None:
    write_tiny_model(tmp_path / "base", name, tokenizer=True)
    adapters = []
    for run, batch, accumulate in (("together", 8, 1), ("apart", 1, 8)):
        report = train(
            tmp_path,
            run,
            graph,
            batch_size=batch,
            grad_accum=accumulate,
            max_steps=1,
            warmup_steps=0,
        )
        adapters.append(adapter_of(report).tensors)
    for key, together in adapters[0].items():
        assert_parity(adapters[1][key], together, F32_ACCUMULATED)
        if key.endswith("lora_B"):
            assert differs(together, torch.zeros_like(together), F32_GRAD), "B must have moved"


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_the_proxy_stack_is_made_of_the_models_own_projections_the_right_way_round(
    name: str, tmp_path: Path, data_dir: Path
) -> None:
    model = write_tiny_model(tmp_path / "base", name, tokenizer=True)
    planned = plan_training(request(tmp_path, "run", QloraGraph.PROXY))
    objective = load_objective(planned, planned.preflight.base_digest()).objective
    assert isinstance(objective, AdaptedObjective)
    weights = model.state_dict()
    stored = [f"model.layers.{i}.self_attn.o_proj.weight" for i in range(N_LAYERS)]
    table = "model.embed_tokens.weight"
    if name == "gpt2":
        # Conv1D keeps its weight [in, out].
        stored = [f"transformer.h.{i}.attn.c_proj.weight" for i in range(N_LAYERS)]
        weights |= {key: weights[key].t() for key in stored}
        table = "transformer.wte.weight"
    for layer, key in zip(objective.adapted.values(), (*stored, table), strict=True):
        assert isinstance(layer.base.weight, Nf4Weight)
        actual = dequantize_nf4(layer.base.weight.quantized)
        assert torch.equal(actual, dequantize_nf4(quantize_nf4(weights[key].contiguous())))
        assert layer.base.bias is None
        if key != table:
            turned = dequantize_nf4(quantize_nf4(weights[key].t().contiguous()))
            assert not torch.equal(actual, turned), "the other way round is another matrix"
    assert torch.equal(objective.model.embed.weight, weights[table])
