"""Tier A: lm_eval's figures of our model are those of its own model for transformers (`HFLM`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from tests_integration.tiny_models import build_tiny_model, write_tiny_model, write_tiny_tokenizer
from tests_integration.tolerances import F32_LOSS_SUM
from vox_populi.errors import ConfigError
from vox_populi.pipeline.harness import HarnessRequest, HarnessTask, TaskFigures, run_harness
from vox_populi.pipeline.weights_choice import WeightsChoice

pytest.importorskip("lm_eval", reason="needs vox-populi[lm-eval]")

ROWS = [
    {"question": "the cat sat on the", "choices": ["mat", "dog barks", "a"], "answer": 0},
    {"question": "one two three", "choices": ["four", "red", "it is"], "answer": 2},
    {"question": "hello  ", "choices": ["there", "you", "x y z"], "answer": 1},
]
SHARED = {
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "rows.jsonl"}},
    "test_split": "test",
    "metadata": {"version": 1.0},
}
TASKS: dict[str, dict[str, Any]] = {
    "choices": {
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    },
    "perplexity": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{question}}",
        "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
    },
    "written": {
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{choices[answer]}}",
        "generation_kwargs": {"until": ["e"], "max_gen_toks": 8, "do_sample": False},
        "metric_list": [{"metric": "exact_match"}],
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("harness")
    write_tiny_model(made / "model", "llama")
    write_tiny_tokenizer(made / "model")
    text = "".join(json.dumps(row) + "\n" for row in ROWS)
    (made / "rows.jsonl").write_text(text, encoding="utf-8")
    return made


def document(name: str) -> Mapping[str, object]:
    return {"task": name, **SHARED, **TASKS[name]}


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Mapping[str, Mapping[str, float]]:
    """Figures of `HFLM` for the same tasks."""
    harness: Any = pytest.importorskip("lm_eval", reason="needs vox-populi[lm-eval]")
    huggingface: Any = pytest.importorskip("lm_eval.models.huggingface")
    model = huggingface.HFLM(
        pretrained=build_tiny_model("llama"),
        tokenizer=AutoTokenizer.from_pretrained(folder / "model"),
        batch_size=1,
    )
    files = {"data_files": {"test": str(folder / "rows.jsonl")}}
    tasks = [
        {**document(name), "dataset_kwargs": {**files, "cache_dir": str(folder / "cache")}}
        for name in TASKS
    ]
    found = harness.simple_evaluate(model=model, tasks=tasks, bootstrap_iters=0)
    return {
        name: {key.removesuffix(",none"): value for key, value in values.items()}
        for name, values in found["results"].items()
    }


def ours(folder: Path, **changes: Any) -> Mapping[str, TaskFigures]:
    names = changes.pop("names", tuple(TASKS))
    tasks = tuple(HarnessTask(name=str(folder / name), document=document(name)) for name in names)
    weights = WeightsChoice(model_dir=folder / "model", threads=1)
    report = run_harness(HarnessRequest(tasks=tasks, weights=weights, **changes))
    return {each.task: each for each in report.tasks}


def test_figures_are_those_of_lm_eval_s_own_model(
    folder: Path, theirs: Mapping[str, Mapping[str, float]]
) -> None:
    found = ours(folder)
    assert set(found) == set(theirs) == set(TASKS)
    compared = 0
    for name, figures in found.items():
        assert figures.examples == len(ROWS)
        for metric, value in figures.metrics.items():
            if "stderr" not in metric:
                expected = theirs[name][metric]
                assert value == pytest.approx(
                    expected, rel=F32_LOSS_SUM.rtol, abs=F32_LOSS_SUM.atol
                )
                compared += 1
    assert compared == 5
    assert found["perplexity"].metrics["word_perplexity"] > 1
    limited = ours(folder, names=("perplexity",), count=1)["perplexity"]
    assert limited.examples == 1
    assert limited.metrics["bits_per_byte"] != found["perplexity"].metrics["bits_per_byte"]


def test_scores_and_texts_of_single_requests_are_theirs(folder: Path) -> None:
    """With spaces at the end of a context, without a context, and beyond the model's positions."""
    model_module: Any = pytest.importorskip("vox_populi.pipeline.harness_model")
    load: Any = pytest.importorskip("vox_populi.pipeline.load_model")
    huggingface: Any = pytest.importorskip("lm_eval.models.huggingface")
    instance: Any = pytest.importorskip("lm_eval.api.instance").Instance
    hf = huggingface.HFLM(
        pretrained=build_tiny_model("llama"),
        tokenizer=AutoTokenizer.from_pretrained(folder / "model"),
        batch_size=1,
    )
    found = load.find_weights(WeightsChoice(model_dir=folder / "model", threads=1))
    mine = model_module.HarnessModel(found, load.load_weights(found).model, 0)
    long = "the larger of two numbers " * 30

    def asked(kind: str, *args: Any) -> Any:
        return instance(request_type=kind, doc={}, arguments=args, idx=0)

    pairs = [("a context ", "and more"), ("", "no context"), (long, "the end"), ("x", " y")]
    requests = [asked("loglikelihood", *pair) for pair in pairs]
    for a, b in zip(mine.loglikelihood(requests), hf.loglikelihood(requests), strict=True):
        torch.testing.assert_close(a[0], b[0], rtol=F32_LOSS_SUM.rtol, atol=F32_LOSS_SUM.atol)
        assert a[1] == b[1]
    requests = [asked("loglikelihood_rolling", text) for text in (long, "short")]
    sums = zip(
        mine.loglikelihood_rolling(requests), hf.loglikelihood_rolling(requests), strict=True
    )
    for sum_a, sum_b in sums:
        torch.testing.assert_close(sum_a, sum_b, rtol=F32_LOSS_SUM.rtol, atol=F32_LOSS_SUM.atol)
    settings = {"until": ["z"], "max_gen_toks": 12, "do_sample": False}
    requests = [asked("generate_until", text, dict(settings)) for text in ("def add", long)]
    assert mine.generate_until(requests) == hf.generate_until(requests)


def test_the_chat_template_is_that_of_the_training_and_a_bad_task_is_one_problem(
    folder: Path,
) -> None:
    plain = ours(folder, names=("choices",))["choices"].metrics
    chat = ours(folder, names=("choices",), as_chat=True)["choices"].metrics
    assert set(plain) == set(chat)
    weights = WeightsChoice(threads=1)
    for broken in ({"output_type": "nonsense"}, {"dataset_kwargs": {"data_files": "none.jsonl"}}):
        task = HarnessTask(name="t.yaml", document={**document("choices"), **broken})
        with pytest.raises(ConfigError) as caught:
            run_harness(HarnessRequest(tasks=(task,), weights=weights))
        assert caught.value.problems[0].code == "MENS-H171"
