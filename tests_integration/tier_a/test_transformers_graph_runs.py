"""Tier A: whole runs on models that transformers computes, and what other programs make of them."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM

from tests_integration.foreign_models import foreign_settings, write_foreign_model
from tests_integration.tiny_models import VOCAB
from tests_integration.tolerances import F32_LOGITS, F32_MERGED, assert_parity, differs
from vox_populi.contract.choices import ActivationMemoryChoice, Backend, TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.events import Event, EventName
from vox_populi.export.consumers import Consumer
from vox_populi.hf.graph_source import GraphSource
from vox_populi.hf.inventory import read_inventory
from vox_populi.hf.model_config import parse_model_config
from vox_populi.infer.cached_model import CachedModel
from vox_populi.infer.generate import generate_ids
from vox_populi.infer.sampling_spec import SamplingSpec
from vox_populi.model.hf_load import load_base
from vox_populi.pipeline.export import ExportRequest
from vox_populi.pipeline.export_run import export_adapter
from vox_populi.pipeline.merge import AnyMergeRequest, merge_adapter
from vox_populi.pipeline.stopped_run import RunInterruptedError
from vox_populi.pipeline.train import Resume, RunOptions, run_training
from vox_tensor.errors import VoxError
from vox_tensor.lora_spec import LoraSpec

IDS = torch.randint(3, VOCAB, (1, 23), generator=torch.Generator().manual_seed(1))


def contract(tmp_path: Path, run: str, **changes: Any) -> FinetuneContract:
    data = tmp_path / "rows.jsonl"
    if not data.exists():
        rows = [{"prompt": f"say {i} " * (1 + i % 4), "response": f"{i} it is"} for i in range(12)]
        data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings: dict[str, Any] = {
        "data": (data,),
        "output_dir": tmp_path / run,
        "model_dir": tmp_path / "base",
        "tokenizer": TokenizerKind.HF,
        "lora": LoraSpec(rank=2, alpha=8.0),
        "epochs": 1,
        "batch_size": 2,
        "grad_accum": 1,
        "seq_len": 96,
        "learning_rate": 5e-3,
        "warmup_steps": 0,
        "threads": 1,
    }
    return FinetuneContract.of(**{**settings, **changes})


class StopAt:
    """Asks a run to stop after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def emit(self, event: Event) -> None:
        """Raise the signal in that step."""
        if event.name is EventName.STEP and event.payload["step"] == self.step:
            signal.raise_signal(signal.SIGTERM)


@torch.no_grad()
def logits_of(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(IDS).logits[0]
    return found


@pytest.mark.parametrize(
    ("model_type", "backend", "packs"),
    [
        ("glm4", Backend.LORA, True),
        ("qwen3_5_text", Backend.QLORA, False),
    ],
)
def test_what_a_run_learned_is_what_other_programs_load(
    model_type: str, backend: Backend, packs: bool, tmp_path: Path
) -> None:
    base = write_foreign_model(tmp_path / "base", model_type, tokenizer=True, spread=0.5)
    asked = contract(tmp_path, "run", backend=backend)
    report = run_training(asked, RunOptions())
    manifest = json.loads((report.run / "training_manifest.json").read_text("utf-8"))
    assert manifest["graph_source"]["source"] == "transformers"
    assert manifest["graph_source"]["class"] == type(base).__name__
    assert manifest["graph_source"]["packed"] is packs
    by_torch = {"causal_conv1d": "torch", "fla": "torch"} if model_type == "qwen3_5_text" else None
    assert manifest["graph_source"].get("kernels") == by_torch

    merged = merge_adapter(AnyMergeRequest(source=report.run, output=tmp_path / "merged"))
    found = AutoModelForCausalLM.from_pretrained(merged.output, dtype=torch.float32)
    export_adapter(
        ExportRequest(source=report.run, output_dir=tmp_path / "peft", consumer=Consumer.PEFT)
    )
    assert differs(logits_of(found), logits_of(base), F32_LOGITS), "something was learned"
    if backend is Backend.LORA:
        peft = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "peft")
        assert_parity(logits_of(found), logits_of(peft), F32_MERGED)


# The experts of GLM 4.5 are stored one by one.
@pytest.mark.parametrize("model_type", ["glm4", "gpt_oss", "glm4_moe"])
def test_greedy_text_is_that_of_transformers(model_type: str, tmp_path: Path) -> None:
    theirs = write_foreign_model(tmp_path, model_type, spread=0.6)
    model, prompt = load_base(read_inventory(tmp_path), torch.float32), IDS[0, :9].tolist()
    made = generate_ids(
        CachedModel(model), prompt, max_new_tokens=24, stop_ids=(), sampling=SamplingSpec()
    )
    expected: Any = theirs.generate(  # type: ignore[operator]  # theirs, mistyped
        IDS[:, :9], max_new_tokens=24, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert list(made.ids) == expected[0, 9:].tolist()
    assert len(set(made.ids)) > 1, "a text of one token would prove little"


@pytest.mark.parametrize("model_type", ["glm4"])
def test_a_resumed_run_gives_the_same_bytes(model_type: str, tmp_path: Path) -> None:
    write_foreign_model(tmp_path / "base", model_type, tokenizer=True, spread=0.5)
    changes: dict[str, Any] = {"lora": LoraSpec(rank=2, alpha=8.0, dropout=0.1), "max_steps": 3}
    whole = run_training(contract(tmp_path, "whole", **changes), RunOptions())
    # What is computed again is no part of the request.
    asked = contract(tmp_path, "parts", **changes, activation_memory=ActivationMemoryChoice.FULL)
    with pytest.raises(RunInterruptedError):
        run_training(asked, RunOptions(), [StopAt(2)])
    resumed = run_training(asked, RunOptions(resume=Resume()))
    assert resumed.resumed_from == 2
    adapters = [(each.run / "model_final.bin").read_bytes() for each in (whole, resumed)]
    assert adapters[0] == adapters[1]


def test_what_transformers_does_not_do_for_us_is_refused(tmp_path: Path) -> None:
    write_foreign_model(tmp_path / "base", "glm4", tokenizer=True)
    packed = foreign_settings("gpt_oss", quantization_config={"quant_method": "fp8"})
    with pytest.raises(VoxError, match=r"MENS-H070.*fp8"):
        parse_model_config(packed, "config.json", GraphSource.AUTO)
    with pytest.raises(VoxError, match="MENS-H010"):
        run_training(contract(tmp_path, "run", graph_source=GraphSource.NATIVE), RunOptions())
    assert not (tmp_path / "run").exists()
