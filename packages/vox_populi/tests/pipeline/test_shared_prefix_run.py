"""Runs on rows with one system prompt: what is computed once, what files say, what stays."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from vox_populi.adapters.lora_bin import read_adapter_bin
from vox_populi.contract.choices import PrefixSharing
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.events import Event, EventName
from vox_populi.files.json_fields import take_object
from vox_populi.pipeline.stopped_run import RunInterruptedError
from vox_populi.pipeline.train import Resume, RunOptions, TrainReport, run_training
from vox_populi.runs.checkpoint_dir import list_checkpoints
from vox_populi.runs.manifest import read_manifest
from vox_tensor.lora_spec import LoraSpec

MakeContract = Callable[..., FinetuneContract]

SUMMED_OTHERWISE = 2e-4
"""Losses and adapters after a few steps of AdamW on f32 gradients summed in another order."""
SYSTEM = "Answer with the word alone, three times, and nothing else at all."
WAYS = {"lora": LoraSpec(rank=2, alpha=4.0), "system_prompt": SYSTEM, "seq_len": 160}


class StopAt:
    def __init__(self, step: int) -> None:
        self.step = step

    def emit(self, event: Event) -> None:
        if event.name is EventName.STEP and event.payload["step"] == self.step:
            signal.raise_signal(signal.SIGTERM)


def results_of(report: TrainReport) -> dict[str, object]:
    return take_object(read_manifest(report.run / "training_manifest.json"), "results")


def test_a_run_says_how_much_it_shared_and_learns_the_same(
    make_contract: MakeContract, tmp_path: Path
) -> None:
    shared = run_training(make_contract(**WAYS), RunOptions())
    never = {**WAYS, "share_prefixes": PrefixSharing.NEVER}
    alone = run_training(make_contract(output_dir=tmp_path / "alone", **never), RunOptions())
    # Two rows a step: each step but the last of an epoch computes the prompt once.
    assert 2 * 2 * len(SYSTEM) < shared.saved_tokens < shared.tokens / 2
    assert (shared.tokens, shared.supervised_tokens) == (alone.tokens, alone.supervised_tokens)
    assert results_of(shared)["saved_tokens"] == shared.saved_tokens
    assert shared.as_json()["saved_tokens"] == shared.saved_tokens
    assert alone.saved_tokens == 0
    assert "saved_tokens" not in {*results_of(alone), *alone.as_json()}
    assert shared.train_loss == pytest.approx(alone.train_loss, abs=SUMMED_OTHERWISE)
    assert shared.heldout_loss_after == pytest.approx(alone.heldout_loss_after, abs=1e-4)
    ours, theirs = (
        read_adapter_bin(each.run / "model_final.bin").tensors for each in (shared, alone)
    )
    for name, tensor in ours.items():
        assert (tensor - theirs[name]).abs().max() < SUMMED_OTHERWISE
    assert any(tensor.abs().max() > 10 * SUMMED_OTHERWISE for tensor in ours.values())


def test_never_is_part_of_the_request_and_auto_is_as_before(make_contract: MakeContract) -> None:
    auto, never = make_contract(), make_contract(share_prefixes=PrefixSharing.NEVER)
    assert "share_prefixes" not in auto.canonical()
    assert never.canonical()["share_prefixes"] == "never"


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_run_that_shares_is_resumed_to_the_same_bytes(
    make_contract: MakeContract, tmp_path: Path
) -> None:
    expected = run_training(make_contract(output_dir=tmp_path / "whole", **WAYS), RunOptions())
    contract, auto = make_contract(**WAYS), RunOptions(resume=Resume(), checkpoint_every=1)
    with pytest.raises(RunInterruptedError):
        run_training(contract, auto, [StopAt(2)])
    (newest,) = list_checkpoints(contract.output_dir)[-1:]
    values = json.loads(newest.file("state.json").read_bytes())
    assert 0 < values["saved_tokens"] < expected.saved_tokens
    assert run_training(contract, auto).resumed_from == 2
    for name in ("model_final.bin", "training_manifest.json", "request.json"):
        assert (contract.output_dir / name).read_bytes() == (expected.run / name).read_bytes()


def test_dropout_computes_every_row(make_contract: MakeContract) -> None:
    dropped = {**WAYS, "lora": LoraSpec(rank=2, alpha=4.0, dropout=0.1), "max_steps": 1}
    report = run_training(make_contract(**dropped), RunOptions())
    assert report.saved_tokens == 0
