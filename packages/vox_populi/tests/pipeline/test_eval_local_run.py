"""Tasks are answered as `generate` would, twice the same, and the base beside the adapter."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from packages.vox_populi.tests.pages.parsed_page import ParsedPage
from packages.vox_populi.tests.schemas import meets_schema
from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.errors import ConfigError, PreflightError
from vox_populi.evals.task_files import TaskFile
from vox_populi.infer.generate import Generated
from vox_populi.infer.generate_many import AskedText, generate_many
from vox_populi.pipeline import answers
from vox_populi.pipeline.eval_local import EvalLocalReport, EvalLocalRequest, evaluate_tasks
from vox_populi.pipeline.generate import GenerateRequest, Prompt, generate
from vox_populi.pipeline.train import RunOptions, TrainReport, run_training
from vox_populi.pipeline.weights_choice import WeightsChoice

MakeContract = Callable[..., FinetuneContract]

TASKS: list[dict[str, Any]] = [
    {"id": "one", "prompt": "Say one.", "tags": ["t"], "max_new_tokens": 12},
    {"id": "two", "completion": "two! two", "source": "s", "max_new_tokens": 6},
    {"id": "three", "prompt": "Say <three>.", "samples": 3, "temperature": 1, "max_new_tokens": 4},
]


@pytest.fixture
def run(make_contract: MakeContract) -> TrainReport:
    return run_training(make_contract(), RunOptions())


def measure(*tasks: dict[str, Any], **settings: Any) -> EvalLocalReport:
    document = {"defaults": {"checks": [{"kind": "python"}]}, "tasks": list(tasks or TASKS)}
    weights = WeightsChoice(threads=1, run=settings.pop("run", None))
    file = TaskFile(Path("t.yaml"), document)
    return evaluate_tasks(EvalLocalRequest(tasks=(file,), weights=weights, **settings))


def test_answers_are_those_of_generate_and_a_seed_gives_the_same_bytes(
    run: TrainReport, tmp_path: Path
) -> None:
    first = measure(run=run.run, compare_base=True, output=tmp_path / "a")
    measure(run=run.run, compare_base=True, output=tmp_path / "b")
    for name in ("eval_report.json", "eval_report.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    report = json.loads((tmp_path / "a" / "eval_report.json").read_text())
    (told,) = generate(
        GenerateRequest(
            prompts=(Prompt("Say one."),),
            weights=WeightsChoice(run=run.run, threads=1),
            max_new_tokens=12,
        )
    )
    assert meets_schema(report, "eval-report")
    assert not meets_schema({**report, "more": 1}, "eval-report")
    assert not meets_schema({**report, "metrics": {"pass_at_0": {}}}, "eval-report")
    assert report["tasks"][0]["samples"][0]["text"] == told.text
    assert report["base_tasks"][0]["samples"][0]["text"] != told.text
    assert len({each["text"] for each in report["tasks"][2]["samples"]}) > 1
    assert measure(run=run.run, seed=9).document["tasks"] != first.document["tasks"]
    receipt = json.loads((tmp_path / "a" / "eval_receipt.json").read_text())
    assert receipt["digests"] == report["digests"]
    assert receipt["report"]["sha256"] == report["manifest_sha256"]
    assert report["digests"]["adapter"] is not None
    page = (tmp_path / "a" / "eval_report.html").read_text()
    assert "Say &lt;three&gt;." in page
    ParsedPage(page)
    with pytest.raises(PreflightError):
        measure(run=run.run, output=tmp_path / "a")


def test_all_answers_of_a_model_are_asked_for_together(
    run: TrainReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []

    def counted(model: Any, asked: Sequence[AskedText], *more: Any) -> Iterator[Generated]:
        counts.append([each.is_greedy for each in asked])
        return generate_many(model, asked, *more)

    monkeypatch.setattr(answers, "generate_many", counted)
    long = {"id": "long", "prompt": "x" * 5000, "max_new_tokens": 4}
    measured = measure(*TASKS, long, run=run.run).measured
    assert counts == [[True, True, False, False, False]]
    assert [len(each.samples) for each in measured.results] == [1, 1, 3, 1]
    assert measured.results[3].samples[0].stop_reason == "no_room"


def test_the_adapter_alone_makes_the_difference(
    run: TrainReport, make_contract: MakeContract
) -> None:
    report = measure(run=run.run, compare_base=True)
    assert report.base is not None
    untrained = evaluate_tasks(
        EvalLocalRequest(
            tasks=(TaskFile(Path("t"), {"tasks": [{**TASKS[0], "checks": [{"kind": "json"}]}]}),),
            weights=WeightsChoice(
                model_dir=make_contract().model_dir, threads=1, tokenizer=TokenizerKind.VOX
            ),
        )
    )
    base, alone = report.base.results[0].samples[0], untrained.measured.results[0].samples[0]
    assert base.text == alone.text


def test_a_prompt_without_room_is_a_failed_task(run: TrainReport) -> None:
    report = measure({"id": "long", "prompt": "x " * 400}, run=run.run)
    (sample,) = report.measured.results[0].samples
    assert (sample.stop_reason, sample.text) == ("no_room", "")
    assert report.document["metrics"]["pass_at_1"]["value"] == 0  # type: ignore[index]


def test_code_is_run_only_when_asked() -> None:
    task = {"id": "a", "prompt": "x", "checks": [{"kind": "python_tests", "code": "assert 1"}]}
    with pytest.raises(ConfigError) as caught:
        measure(task)
    assert caught.value.problems[0].code == "MENS-V004"
    with pytest.raises(ConfigError):
        measure(compare_base=True)
