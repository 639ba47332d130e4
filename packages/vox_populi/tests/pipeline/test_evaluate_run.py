"""Evaluation gives the loss that training gave, per source too, and only with what belongs."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.data.training_text import ChatTemplate
from vox_populi.errors import ArtifactError, ConfigError, DataError, RunFailedError
from vox_populi.infer.generate import Generated
from vox_populi.infer.generate_many import AskedText, generate_many
from vox_populi.kernel.adapted_objective import AdaptedObjective
from vox_populi.merge.choices import MergeFormat
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.pipeline import answers, evaluate_run
from vox_populi.pipeline.evaluate import EvalReport, EvalRequest, evaluate
from vox_populi.pipeline.evaluate_run import DEFAULT_SEQ_LEN
from vox_populi.pipeline.generate import GenerateRequest, Prompt, generate
from vox_populi.pipeline.load_model import FoundWeights, load_weights
from vox_populi.pipeline.merge import (
    MergeRequest,
    merge_weights,
)
from vox_populi.pipeline.train import RunOptions, TrainReport, run_training
from vox_populi.pipeline.weights_choice import WeightsChoice
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
    data = contract.data_paths[0] / "valid.jsonl"
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
    data = contract.data_paths[0] / "valid.jsonl"
    new_home = tmp_path / "new"
    new_home.mkdir()
    (tmp_path / "runs").rename(new_home / "runs")
    (tmp_path / "models").rename(new_home / "models")
    assert measure(data, run=new_home / "runs" / "first").loss == run.heldout_loss_after


def test_a_lost_base_must_be_named_and_be_the_right_one(
    contract: FinetuneContract, run: TrainReport, make_base: MakeBase, tmp_path: Path
) -> None:
    data = contract.data_paths[0] / "valid.jsonl"
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
        measure(contract.data_paths[0] / "valid.jsonl", run=run.run)


def test_other_text_than_in_training_is_refused_unless_forced(
    contract: FinetuneContract, run: TrainReport
) -> None:
    data = contract.data_paths[0] / "valid.jsonl"
    for other in ({"system_prompt": "Long."}, {"template": ChatTemplate.PLAIN}):
        with pytest.raises(ArtifactError, match=r"MENS-A030.*--force-template"):
            measure(data, run=run.run, **other)
    report = measure(data, run=run.run, system_prompt="Long.", force_template=True)
    assert any("system prompt" in note for note in report.notes)
    assert report.loss != run.heldout_loss_after


@pytest.mark.parametrize("output_format", MergeFormat)
def test_a_merged_model_keeps_the_digest_of_the_system_prompt_and_not_its_text(
    contract: FinetuneContract, run: TrainReport, tmp_path: Path, output_format: MergeFormat
) -> None:
    data, merged = contract.data_paths[0] / "valid.jsonl", tmp_path / "merged"
    request = MergeRequest(checkpoint=run.run, output=merged, output_format=output_format)
    merge_weights(request)
    assert not [path for path in merged.iterdir() if b"Short." in path.read_bytes()]
    receipt = json.loads((merged / "merge_receipt.json").read_text(encoding="utf-8"))
    assert receipt["adapter"]["system_prompt_withheld"] is True
    with pytest.raises(ArtifactError, match=r"MENS-A130.*--include-system-prompt"):
        measure(data, model_dir=merged)
    with pytest.raises(ArtifactError, match="MENS-A030"):
        measure(data, model_dir=merged, system_prompt="Long.")
    loss = measure(data, model_dir=merged, system_prompt="Short.").loss
    assert measure(data, model_dir=merged, force_template=True).loss != loss

    merge_weights(replace(request, include_system_prompt=True, output=tmp_path / "whole"))
    assert measure(data, model_dir=tmp_path / "whole").loss == loss
    with pytest.raises(ArtifactError, match="MENS-A030"):
        measure(data, model_dir=tmp_path / "whole", system_prompt="Long.")


def test_before_and_after_are_the_losses_of_training(
    contract: FinetuneContract, run: TrainReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = contract.data_paths[0] / "valid.jsonl"
    loads: list[FoundWeights] = []

    def count(found: FoundWeights) -> AdaptedObjective[CausalGraph]:
        loads.append(found)
        return load_weights(found)

    monkeypatch.setattr(evaluate_run, "load_weights", count)
    report = evaluate(
        EvalRequest(data=data, weights=WeightsChoice(run=run.run, threads=1), compare_base=True)
    )
    assert len(loads) == 1, "base and adapter are measured on one model"
    assert report.base is not None
    assert report.base.loss == run.heldout_loss_before
    assert report.loss == run.heldout_loss_after
    assert [each.source for each in report.base.sources] == [each.source for each in report.sources]
    alone = WeightsChoice(model_dir=contract.model_dir, tokenizer=TokenizerKind.VOX)
    with pytest.raises(ConfigError, match="MENS-U033"):
        evaluate(EvalRequest(data=data, weights=alone, compare_base=True))


def test_answers_are_compared_source_by_source(
    contract: FinetuneContract, run: TrainReport, write_rows: WriteRows
) -> None:
    weights = WeightsChoice(run=run.run, threads=1)
    prompts = (Prompt("Say a."), Prompt("Say b."))
    said = [r.text for r in generate(GenerateRequest(prompts=prompts, weights=weights))]
    rows = [
        {"prompt": "Say a.", "response": f" {said[0]}\n", "source": "x:1"},
        {"prompt": "Say b.", "response": "def f(:", "source": "y:2"},
        {"prompt": "Say c.", "response": "pass", "source": "z:3"},
    ]
    data = write_rows(rows, "answers.jsonl")
    request = EvalRequest(data=data, weights=weights, generate=2, max_new_tokens=128)
    report = evaluate(request)
    scores = {each.source: each.answers for each in report.sources}
    assert scores["x"] is not None
    assert scores["y"] is not None
    assert (scores["x"].rows, scores["x"].exact) == (1, 1)
    assert (scores["y"].exact, scores["y"].expected_python) == (0, 0)
    assert scores["z"] is None, "only the first rows are answered"
    total = report.measured.answers
    assert total is not None
    assert (total.rows, total.exact) == (2, 1)
    document = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert document["answers"]["exact_share"] == 0.5
    assert document["sources"][2]["answers"] is None
    without = evaluate(replace(request, generate=0))
    assert without.measured.answers is None
    assert without.loss == report.loss


def test_sources_take_turns_and_are_answered_together(
    run: TrainReport, write_rows: WriteRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []

    def counted(model: Any, asked: Sequence[AskedText], *more: Any) -> Iterator[Generated]:
        counts.append(len(asked))
        return generate_many(model, asked, *more)

    monkeypatch.setattr(answers, "generate_many", counted)
    rows = [
        {"prompt": f"Say {n}.", "response": "x", "source": source}
        for n, source in enumerate(("a", "a", "a", "a", "b", "c", "c"))
    ]
    data = write_rows(rows, "turns.jsonl")
    weights = WeightsChoice(run=run.run, threads=1)
    request = EvalRequest(data=data, weights=weights, generate=6, max_new_tokens=1)
    answered = [each.answers.rows for each in evaluate(request).sources if each.answers]
    assert answered == [3, 1, 2]
    assert counts == [6]


def test_a_prompt_without_room_is_answered_with_nothing(
    run: TrainReport, write_rows: WriteRows
) -> None:
    rows = [{"prompt": "long " * 40, "response": "x"}, {"prompt": "Say a.", "response": "a"}]
    data = write_rows([*rows, {"prompt": "Say b.", "response": "b"}], "long.jsonl")
    weights = WeightsChoice(run=run.run, threads=1)
    report = evaluate(EvalRequest(data=data, weights=weights, generate=9, seq_len=400))
    assert report.measured.answers is not None
    assert report.measured.answers.rows == 3


@pytest.mark.parametrize("wrong", [{"generate": -1}, {"max_new_tokens": 0}])
def test_numbers_of_answers_are_checked(contract: FinetuneContract, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="--"):
        evaluate(EvalRequest(data=contract.data_paths[0] / "valid.jsonl", **wrong))


def test_evaluation_refuses_a_run_that_is_not_finished(
    contract: FinetuneContract, run: TrainReport, tmp_path: Path
) -> None:
    data = contract.data_paths[0] / "valid.jsonl"
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


def test_a_loss_that_is_not_finite_is_refused_as_a_result(
    contract: FinetuneContract, run: TrainReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = AdaptedObjective.loss_sum
    monkeypatch.setattr(
        AdaptedObjective, "loss_sum", lambda self, batch: sound(self, batch) * float("nan")
    )
    with pytest.raises(RunFailedError, match="MENS-R012"):
        measure(contract.data_paths[0] / "valid.jsonl", run=run.run)


def test_the_default_length_is_the_trainers(tmp_path: Path) -> None:
    contract = FinetuneContract.of(data_dir=tmp_path, output_dir=tmp_path / "out")
    assert contract.batching.seq_len == DEFAULT_SEQ_LEN
