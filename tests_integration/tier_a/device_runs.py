"""Whole runs of tiny models on a device that is named: what tests of devices compare."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests_integration.tiny_models import write_tiny_model
from vox_populi.contract.choices import Backend, ComputeDtype, DeviceKind, TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.qlora_spec import DenseCopiesChoice, QloraGraph, QloraSpec
from vox_populi.pipeline.evaluate import EvalRequest, evaluate
from vox_populi.pipeline.generate import GenerateRequest, Prompt, generate
from vox_populi.pipeline.train import Resume, RunOptions, run_training
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_tensor.lora_spec import LoraSpec

WORDS = ("red", "green", "blue", "one", "two", "three", "north", "south")


@dataclass(frozen=True, slots=True)
class Case:
    """A base folder and what is trained on it."""

    base: str
    changes: Mapping[str, Any] = field(default_factory=dict)


def qlora(graph: QloraGraph, copies: DenseCopiesChoice, **changes: Any) -> dict[str, Any]:
    """What a request for QLoRA changes."""
    spec = QloraSpec(graph=graph, dense_copies=copies)
    return {"backend": Backend.QLORA, "qlora": spec, **changes}


PLAIN = {"lora": LoraSpec(rank=4, alpha=8.0), "dtype": ComputeDtype.F32}
"""What every case is, unless it says otherwise."""
DROPOUT = LoraSpec(rank=4, alpha=8.0, dropout=0.1)
BASES = ("gpt2", "llama", "mistral", "phi3", "qwen2", "qwen3")
"""One family per kind of graph: a case is a whole run, and then once more on a CPU."""
CASES = {
    **{name: Case(name) for name in BASES},
    "dropout": Case("llama", {"lora": DROPOUT}),
    "bf16": Case("llama", {"dtype": ComputeDtype.BF16}),
    "nf4_none": Case("llama", qlora(QloraGraph.FULL, DenseCopiesChoice.NONE, lora=DROPOUT)),
    "nf4_layer": Case("gpt2", qlora(QloraGraph.FULL, DenseCopiesChoice.LAYER)),
    "nf4_step": Case("qwen3", qlora(QloraGraph.FULL, DenseCopiesChoice.STEP)),
    "proxy": Case("llama", qlora(QloraGraph.PROXY, DenseCopiesChoice.NONE)),
}


def write_inputs(folder: Path, *bases: str) -> None:
    """Rows of very different lengths, and a base folder per name."""
    data = folder / "data"
    data.mkdir()
    for name, words in (("train", WORDS), ("valid", WORDS[3:6])):
        rows = [
            {"prompt": f"say {word} {'again ' * (i % 5)}", "response": f"{word} it is, {word}"}
            for i, word in enumerate(words * 2)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (data / f"{name}.jsonl").write_text(text, encoding="utf-8")
    for base in bases:
        write_tiny_model(folder / base, base, tokenizer=True)


def run_case(folder: Path, case: Case, output: Path, device: DeviceKind) -> dict[str, Any]:
    """A run, the same resumed halfway, an evaluation and an answer: what came of them."""
    settings: dict[str, Any] = {
        "data_dir": folder / "data",
        "output_dir": output,
        "model_dir": folder / case.base,
        "tokenizer": TokenizerKind.HF,
        "device": device,
        **PLAIN,
        "epochs": 1,
        "batch_size": 2,
        "grad_accum": 2,
        "seq_len": 64,
        "learning_rate": 5e-3,
        "warmup_steps": 1,
        "eval_every": 2,
        "threads": 1,
        **case.changes,
    }
    contract = FinetuneContract.of(**settings)
    options = RunOptions(checkpoint_every=2, log_every=1, keep_checkpoints=10)
    report = run_training(contract, options)
    again = replace(contract, output_dir=output.with_name(output.name + "-resumed"))
    source = output / "checkpoints" / "step-2"
    resumed = run_training(again, replace(options, resume=Resume(source)))
    adapters = [each.artifacts["adapter"].read_bytes() for each in (report, resumed)]
    events = [json.loads(line) for line in (output / "telemetry.jsonl").read_text().splitlines()]
    found: dict[str, Any] = {
        "losses": [e["payload"]["loss"] for e in events if e["event"] == "step"],
        "norms": [e["payload"]["grad_norm"] for e in events if e["event"] == "step"],
        "held_out": [report.heldout_loss_before, report.heldout_loss_after],
        "adapter": str(report.artifacts["adapter"]),
        "steps": [report.steps, resumed.steps],
        "held_out_resumed": [resumed.heldout_loss_after],
        "resumed_equal": adapters[0] == adapters[1],
    }
    if case.changes.get("qlora", QloraSpec()).graph is not QloraGraph.PROXY:
        weights = WeightsChoice(run=output, device=device, dtype=contract.compute.dtype, threads=1)
        loss = evaluate(EvalRequest(data=folder / "data" / "valid.jsonl", weights=weights))
        request = GenerateRequest(prompts=(Prompt("say red"),), weights=weights, max_new_tokens=8)
        found["evaluated"] = [loss.loss]
        found["answer"] = next(iter(generate(request))).text
        several = replace(request, prompts=tuple(Prompt(f"say {word}") for word in WORDS))
        found["answers"] = [each.text for each in generate(several)]
    return found
