"""Answers before and after training: those of the base and of the adapter, and no trace else."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.events import Event, EventName
from vox_populi.pipeline.generate import GenerateRequest, Prompt, generate
from vox_populi.pipeline.stopped_run import RunInterruptedError
from vox_populi.pipeline.train import Resume, RunOptions, run_training
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_populi.runs.samples import read_samples

MakeContract = Callable[..., FinetuneContract]
ASK = RunOptions(samples=2)


class StopAfter:
    def __init__(self, step: int) -> None:
        self.step = step

    def emit(self, event: Event) -> None:
        if event.name is EventName.STEP and event.payload["step"] == self.step:
            signal.raise_signal(signal.SIGTERM)


def test_answers_are_those_of_base_and_adapter(make_contract: MakeContract) -> None:
    contract = make_contract(learning_rate=0.05, epochs=8)
    report = run_training(contract, ASK)
    assert contract.data_dir is not None
    text = (contract.data_dir / "valid.jsonl").read_text("utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    samples = read_samples(report.run)
    assert len(samples) == 2
    assert any(each.before != each.after for each in samples), "it learned"
    for row, sample in zip(rows, samples, strict=True):
        assert row["prompt"] in sample.prompt
        assert row["response"] in sample.expected
        base = WeightsChoice(model_dir=contract.model_dir, tokenizer=contract.tokenizer)
        for weights, answer in (
            (base, sample.before),
            (WeightsChoice(run=report.run), sample.after),
        ):
            asked = GenerateRequest(
                prompts=(Prompt(row["prompt"]),), weights=weights, max_new_tokens=128
            )
            (made,) = generate(asked)
            assert made.text == answer


def test_they_change_nothing_else(make_contract: MakeContract, tmp_path: Path) -> None:
    runs = [
        run_training(make_contract(output_dir=tmp_path / str(n)), RunOptions(samples=n)).run
        for n in (0, 2)
    ]
    for name in ("model_final.bin", "training_manifest.json", "request.json"):
        assert (runs[0] / name).read_bytes() == (runs[1] / name).read_bytes()
    assert not (runs[0] / "samples.json").exists()


def test_a_resumed_run_keeps_the_answers_before_training(make_contract: MakeContract) -> None:
    contract = make_contract(learning_rate=0.05)
    with pytest.raises(RunInterruptedError):
        run_training(contract, ASK, [StopAfter(4)])
    (before, _) = read_samples(contract.output_dir)
    assert before.after is None
    run_training(contract, RunOptions(samples=2, resume=Resume()))
    (after, _) = read_samples(contract.output_dir)
    assert after.before == before.before
    assert after.after is not None


def test_a_run_without_heldout_rows_says_so(make_contract: MakeContract) -> None:
    contract = make_contract()
    assert contract.data_dir is not None
    (contract.data_dir / "valid.jsonl").unlink()
    contract = make_contract(validation_split_ratio=0.0)
    report = run_training(contract, ASK)
    assert any("--samples" in note for note in report.notes)
    assert "samples" not in report.artifacts
