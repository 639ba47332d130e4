"""`vox mens check-served`: what differs is named, whichever server it is asked of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests_integration.running_server import running
from tests_integration.served_stand_in import START, standing_in
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.errors import ConfigError
from vox_populi.evals.rounding import Rounding
from vox_populi.pipeline.bench_completion import BenchCompletionRequest, bench_completion
from vox_populi.pipeline.check_served import CheckServedReport, CheckServedRequest, check_served
from vox_populi.pipeline.generate import Prompt
from vox_populi.pipeline.serve import ServeRequest
from vox_populi.pipeline.train import RunOptions, run_training
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_tensor.lora_spec import LoraSpec

ROWS = (("Say red.", "red red is it"), ("Count to ten.", "red is ten"), ("What?", "it is red"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows, and a run on the embedded base that answers them and stops."""
    made = tmp_path_factory.mktemp("check-served")
    data = made / "data"
    data.mkdir()
    text = "".join(json.dumps({"prompt": p, "response": r}) + "\n" for p, r in ROWS)
    (data / "train.jsonl").write_text(text, encoding="utf-8")
    contract = FinetuneContract.of(
        data_dir=data,
        output_dir=made / "red",
        lora=LoraSpec(rank=8, alpha=32.0),
        epochs=12,
        batch_size=3,
        learning_rate=5e-3,
        threads=1,
    )
    run_training(contract, RunOptions())
    return made


def asked(folder: Path, url: str, **changes: Any) -> CheckServedReport:
    request = CheckServedRequest(
        url=url,
        weights=WeightsChoice(run=folder / "red", threads=1),
        data=folder / "data" / "train.jsonl",
        max_new_tokens=14,
        timeout_secs=60,
    )
    return check_served(replace(request, **changes))


def codes(report: CheckServedReport) -> list[str]:
    return [each.code.removeprefix("MENS-") for each in report.problems]


@pytest.fixture(scope="module")
def ours(folder: Path) -> Iterator[str]:
    pytest.importorskip("uvicorn", reason="needs vox-populi[serve]")
    with running(ServeRequest(sources=(folder / "red",), port=0)) as serving:
        yield serving.url


def test_our_server_is_the_same_and_its_base_is_not(folder: Path, ours: str) -> None:
    report = asked(folder, ours, rounding=Rounding.F32)
    verdict = report.verdict
    assert report.problems == ()
    assert (report.server, report.served_model) == ("vox mens serve", "red")
    assert (verdict.template, verdict.end, verdict.adapter) == ("same", "same", "used")
    assert verdict.rounding is Rounding.F32
    assert verdict.differences
    base = asked(folder, f"{ours}/v1/", served_model="vox-nano")
    assert "S052" in codes(base)


def test_built_in_prompts_are_asked_where_no_rows_are_given(folder: Path, ours: str) -> None:
    report = asked(folder, ours, data=(), max_new_tokens=3)
    assert len(report.verdict.pairs) == 6
    assert report.verdict.template == "same"
    base = asked(folder, ours, data=(), max_new_tokens=3, weights=WeightsChoice(threads=1))
    assert (base.served_model, base.verdict.adapter, base.problems) == ("vox-nano", "none", ())


@pytest.mark.parametrize(
    ("form", "fault", "expected"),
    [
        ("vllm", "template", ["S050"]),
        ("vllm", "end", ["S051"]),
        ("vllm", "base", ["S052"]),
        ("llama", "", []),
        ("llama", "bos", ["S050"]),
        ("llama", "end", ["S051"]),
        ("other", "", []),
        ("other", "end", ["S051"]),
        ("other", "base", ["S052"]),
    ],
)
def test_a_fault_is_named(folder: Path, form: str, fault: str, expected: list[str]) -> None:
    with standing_in(folder / "red", form, fault) as (url, _):
        report = asked(folder, url)
    assert codes(report) == expected
    if not fault:
        assert report.verdict.adapter == "used"


def test_scores_tell_rounding_from_other_weights_and_from_other_choices(folder: Path) -> None:
    form = "llama"
    with standing_in(folder / "red", form, "half") as (url, _):
        rounded = asked(folder, url)
        strict = asked(folder, url, rounding=Rounding.F32)
    assert (rounded.problems, rounded.verdict.rounding) == ((), Rounding.HALF)
    assert codes(strict) == ["S053"]
    with standing_in(folder / "red", form, "weights") as (url, _):
        assert codes(asked(folder, url)) == ["S054"]
    with standing_in(folder / "red", form, "choice") as (url, _):
        assert "S058" in codes(asked(folder, url))


def test_the_message_shows_where_prompts_part_and_the_key_goes_along(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOX_MENS_API_KEY", "0123456789abcdef")
    with standing_in(folder / "red", "llama", "bos") as (url, stand_in):
        report = asked(folder, url)
    (problem,) = report.problems
    assert f"puts {chr(START)!r} in front" in problem.what or "in front" in problem.what
    keys = {headers.get("Authorization") for _, headers, _ in stand_in.asked}
    assert keys == {"Bearer 0123456789abcdef"}
    assert "0123456789abcdef" not in json.dumps(report.as_json())
    paths = {path for path, _, _ in stand_in.asked}
    assert paths == {"/v1/models", "/v1/chat/completions", "/apply-template", "/tokenize"}


def test_a_server_is_timed_as_weights_are(folder: Path, ours: str) -> None:
    prompts = tuple(Prompt(prompt) for prompt, _ in ROWS)
    asked_for = BenchCompletionRequest(
        prompts=prompts, url=ours, served_model="red", count=4, warmup=1, max_new_tokens=14
    )
    report = bench_completion(asked_for)
    here = bench_completion(
        replace(
            asked_for,
            url=None,
            served_model=None,
            weights=WeightsChoice(run=folder / "red", threads=1),
        )
    )
    assert [each.tokens for each in report.timings] == [each.tokens for each in here.timings]
    assert all(0 < each.first_token <= each.whole for each in report.timings)
    assert (report.url, report.device, report.ok) == (ours, None, True)
    assert report.as_json().keys() == here.as_json().keys()
    with pytest.raises(ConfigError) as caught:
        bench_completion(replace(asked_for, served_model=None))
    assert caught.value.problems[0].code == "MENS-S049"
    with pytest.raises(ConfigError):
        replace(asked_for, weights=WeightsChoice(threads=1))
