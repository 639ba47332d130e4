"""Runs that compute activations again end in the bytes of those that keep them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from packages.vox_populi.tests.pipeline.conftest import LLAMA, write_safetensors
from vox_populi.contract.choices import ActivationMemoryChoice
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.events import Event, EventName
from vox_populi.hf.keymap import tensor_keys
from vox_populi.hf.model_config import parse_model_config
from vox_populi.pipeline.stopped_run import RunInterruptedError
from vox_populi.pipeline.train import Resume, RunOptions, TrainReport, run_training
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.tokenizer import VoxTokenizer

MakeContract = Callable[..., FinetuneContract]

C = ActivationMemoryChoice
SAVING = (C.SELECTIVE, C.FULL, C.OFFLOAD)
WAYS: dict[str, Any] = {
    "lora": LoraSpec(rank=2, alpha=4.0, dropout=0.2),
    "batch_size": 1,
    "grad_accum": 2,
}
LONG = 32_768


class StopAt:
    """Asks for a stop after a step."""

    def __init__(self, step: int) -> None:
        self._step, self.is_due = step, False

    def emit(self, event: Event) -> None:
        self.is_due |= event.name is EventName.STEP and event.payload["step"] == self._step


def manifest_of(report: TrainReport) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(report.artifacts["manifest"].read_text("utf-8"))
    return values


@pytest.mark.parametrize("backend", ["lora", "qlora"])
def test_every_choice_gives_the_same_adapter(
    make_contract: MakeContract, make_qlora: MakeContract, tmp_path: Path, backend: str
) -> None:
    make = make_contract if backend == "lora" else make_qlora
    adapters, recorded = {}, {}
    for choice in (C.NONE, *SAVING):
        contract = make(output_dir=tmp_path / choice, activation_memory=choice, **WAYS)
        report = run_training(contract, RunOptions())
        adapters[choice] = report.artifacts["adapter"].read_bytes()
        recorded[choice] = manifest_of(report)
    assert set(adapters.values()) == {adapters[C.NONE]}
    assert "activation_memory" not in recorded[C.NONE]
    assert [recorded[each]["activation_memory"] for each in SAVING] == list(SAVING)
    digests = {each["finetune_contract_digest"] for each in recorded.values()}
    assert len(digests) == 1, "what is kept does not decide what is learned"
    none, selective, full, offload = (
        recorded[each]["memory_estimate_bytes"] for each in (C.NONE, *SAVING)
    )
    assert none > selective > full == offload
    other = make(output_dir=tmp_path / "other", seed=43, **WAYS)
    assert run_training(other, RunOptions()).artifacts["adapter"].read_bytes() != adapters[C.NONE]


def test_a_run_resumes_with_another_choice_and_ends_in_the_same_bytes(
    make_contract: MakeContract, tmp_path: Path
) -> None:
    undisturbed = run_training(make_contract(output_dir=tmp_path / "u", **WAYS), RunOptions())
    stop = StopAt(2)
    first = make_contract(activation_memory=C.FULL, **WAYS)
    with pytest.raises(RunInterruptedError):
        run_training(first, RunOptions(should_stop=lambda: stop.is_due), [stop])
    resumed = make_contract(activation_memory=C.SELECTIVE, **WAYS)
    report = run_training(resumed, RunOptions(resume=Resume()))
    assert report.resumed_from == 2
    for kind in ("adapter", "model_card"):
        assert report.artifacts[kind].read_bytes() == undisturbed.artifacts[kind].read_bytes()


def test_a_row_of_32k_tokens_is_trained(make_contract: MakeContract, tmp_path: Path) -> None:
    folder = tmp_path / "long"
    folder.mkdir()
    raw = {
        **LLAMA,
        "hidden_size": 8,
        "num_attention_heads": 1,
        "num_hidden_layers": 1,
        "max_position_embeddings": LONG,
    }
    (folder / "config.json").write_text(json.dumps(raw), encoding="utf-8")
    keys = tensor_keys(parse_model_config(raw, "config.json"))
    write_safetensors(folder / "model.safetensors", keys, random.Random(0))
    VoxTokenizer().save(folder / "tokenizer.json")
    rows = tmp_path / "long.jsonl"
    row = {"prompt": "a word " * (LONG // 7 - 20), "response": "the end"}
    rows.write_text(json.dumps(row) + "\n", encoding="utf-8")
    contract = make_contract(
        data_dir=None,
        data=(rows,),
        model_dir=folder,
        seq_len=LONG,
        batch_size=1,
        epochs=1,
        validation_split_ratio=0.0,
        activation_memory=C.FULL,
    )
    report = run_training(contract, RunOptions())
    assert report.steps == 1
    assert LONG - 200 < report.tokens <= LONG
    assert report.train_loss is not None
    assert 0 < report.train_loss < 10
    assert manifest_of(report)["activation_memory"] == "full"
