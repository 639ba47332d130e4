"""Evaluation gives the loss that training gave, per source too, and only with what belongs."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.errors import ArtifactError, ConfigError, DataError, RunFailedError
from vox_populi.kernel.lora_full import LoraFullObjective
from vox_populi.pipeline.dispatch import (
    EvalReport,
    EvalRequest,
    RunOptions,
    TrainReport,
    WeightsChoice,
    evaluate,
    run_training,
)
from vox_populi.pipeline.eval_run import DEFAULT_SEQ_LEN
from vox_tensor.tokenizer import VoxTokenizer

MakeContract = Callable[..., FinetuneContract]
MakeBase = Callable[..., Path]
WriteRows = Callable[..., Path]


@pytest.fixture
def contract(make_contract: MakeContract) -> FinetuneContract:
    return make_contract(system_prompt="Short.", seq_len=80)


@pytest.fixture
def run(contract: FinetuneContract) -> TrainReport:
    return run_training(contract, RunOptions())


def measure(data: Path, **weights: Any) -> EvalReport:
    return evaluate(EvalRequest(data=data, weights=WeightsChoice(threads=1, **weights)))


def test_base_run_and_checkpoint_have_the_losses_of_training(
    contract: FinetuneContract, run: TrainReport
) -> None:
    data = contract.data_dir / "valid.jsonl"
    base = measure(
        data,
        model_dir=contract.model_dir,
        tokenizer=TokenizerKind.VOX,
        system_prompt="Short.",
    )
    trained = measure(data, run=run.run)
    from_file = measure(data, checkpoint=run.artifacts["adapter"])
    assert base.loss == run.heldout_loss_before
    assert trained.loss == from_file.loss == run.heldout_loss_after
    assert trained.loss < base.loss
    assert trained.rows == 2
    assert trained.notes == ()
    document = json.loads(json.dumps(trained.as_json(), allow_nan=False))
    assert document["perplexity"] == math.exp(trained.loss)


def test_sources_add_up(run: TrainReport, write_rows: WriteRows) -> None:
    rows = [
        {"prompt": "Say a.", "response": "a", "source": "x:1"},
        {"prompt": "Say b.", "response": "bbbb", "source": "x:2"},
        {"prompt": "Say c.", "response": "cc", "category": "y"},
    ]
    report = measure(write_rows(rows, "mixed.jsonl"), run=run.run)
    assert [(each.source, each.rows) for each in report.sources] == [("x", 2), ("y", 1)]
    assert sum(each.supervised_tokens for each in report.sources) == report.supervised_tokens
    weighted = sum(each.loss * each.supervised_tokens for each in report.sources)
    assert weighted / report.supervised_tokens == report.loss


def test_run_and_base_may_move_together(
    contract: FinetuneContract, run: TrainReport, tmp_path: Path
) -> None:
    data = contract.data_dir / "valid.jsonl"
    new_home = tmp_path / "new"
    new_home.mkdir()
    (tmp_path / "runs").rename(new_home / "runs")
    (tmp_path / "models").rename(new_home / "models")
    assert measure(data, run=new_home / "runs" / "first").loss == run.heldout_loss_after


def test_a_lost_base_must_be_named_and_be_the_right_one(
    contract: FinetuneContract, run: TrainReport, make_base: MakeBase, tmp_path: Path
) -> None:
    data = contract.data_dir / "valid.jsonl"
    assert contract.model_dir is not None
    moved = contract.model_dir.rename(tmp_path / "moved")
    with pytest.raises(ArtifactError, match=r"MENS-A012.*--model"):
        measure(data, run=run.run)
    assert measure(data, run=run.run, model_dir=moved).loss == run.heldout_loss_after
    other = make_base("other", seed=1)
    with pytest.raises(ArtifactError, match=r"MENS-A011.*other"):
        measure(data, run=run.run, model_dir=other)


def test_another_tokenizer_is_refused(contract: FinetuneContract, run: TrainReport) -> None:
    assert contract.model_dir is not None
    VoxTokenizer([(b"a", b"b")]).save(contract.model_dir / "tokenizer.json")
    with pytest.raises(ArtifactError, match="MENS-A014"):
        measure(contract.data_dir / "valid.jsonl", run=run.run)


def test_other_text_than_in_training_is_noted(contract: FinetuneContract, run: TrainReport) -> None:
    report = measure(contract.data_dir / "valid.jsonl", run=run.run, system_prompt="Long.")
    assert any("--system-prompt" in note for note in report.notes)
    assert report.loss != run.heldout_loss_after


def test_what_is_no_finished_run_is_refused(
    contract: FinetuneContract, run: TrainReport, tmp_path: Path
) -> None:
    data = contract.data_dir / "valid.jsonl"
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ArtifactError, match="MENS-A022"):
        measure(data, run=empty)
    half = shutil.copytree(run.run, tmp_path / "half")
    (half / "model_final.bin").unlink()
    with pytest.raises(ArtifactError, match="MENS-A023"):
        measure(data, run=half)
    with pytest.raises(ConfigError, match="MENS-U030"):
        measure(data, run=run.run, checkpoint=run.artifacts["adapter"])


def test_bad_rows_are_errors_with_their_lines(
    contract: FinetuneContract, write_rows: WriteRows
) -> None:
    data = write_rows([{"prompt": "a", "response": "b"}, {"no": 1}], "bad.jsonl")
    with pytest.raises(DataError, match=r"bad\.jsonl:2"):
        measure(data, model_dir=contract.model_dir, tokenizer=TokenizerKind.VOX)


def test_a_loss_that_is_not_finite_is_no_result(
    contract: FinetuneContract, run: TrainReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = LoraFullObjective.loss_sum
    monkeypatch.setattr(
        LoraFullObjective, "loss_sum", lambda self, batch: sound(self, batch) * float("nan")
    )
    with pytest.raises(RunFailedError, match="MENS-R012"):
        measure(contract.data_dir / "valid.jsonl", run=run.run)


def test_the_default_length_is_the_trainers(tmp_path: Path) -> None:
    contract = FinetuneContract(data_dir=tmp_path, output_dir=tmp_path / "out")
    assert contract.seq_len == DEFAULT_SEQ_LEN
