"""Answers are timed one by one, and a limit is a gate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_populi.contract.choices import TokenizerKind
from vox_populi.errors import ConfigError, DataError
from vox_populi.pipeline.bench_completion import (
    BenchCompletionReport,
    BenchCompletionRequest,
    bench_completion,
    spread_ms,
)
from vox_populi.pipeline.generate import Prompt
from vox_populi.pipeline.weights_choice import WeightsChoice

MakeBase = Callable[..., Path]


def measure(base: Path, *prompts: str, **settings: Any) -> BenchCompletionReport:
    weights = WeightsChoice(model_dir=base, tokenizer=TokenizerKind.VOX, threads=1)
    asked = tuple(Prompt(text) for text in prompts or ("a", "b"))
    return bench_completion(BenchCompletionRequest(prompts=asked, weights=weights, **settings))


def test_answers_are_counted_and_timed(make_base: MakeBase) -> None:
    report = measure(make_base(), count=3, warmup=1, max_new_tokens=4)
    assert len(report.timings) == 3
    assert all(0 < each.first_token <= each.whole for each in report.timings)
    assert all(1 <= each.tokens <= 4 for each in report.timings)
    assert report.tokens_per_second > 0
    assert report.ok
    document = report.as_json()
    assert document["count"] == 3
    assert set(report.latency_ms) == {"min", "p50", "p95", "max", "mean"}


def test_a_latency_above_the_limit_is_a_missed_gate(make_base: MakeBase) -> None:
    base = make_base()
    missed = measure(base, count=1, warmup=0, max_new_tokens=2, max_p95_ms=1e-6)
    assert not missed.ok
    assert missed.problems[0].code == "MENS-V040"
    assert measure(base, count=1, warmup=0, max_new_tokens=2, max_p95_ms=1e9).ok


def test_what_cannot_be_measured_is_refused(make_base: MakeBase) -> None:
    base = make_base()
    with pytest.raises(ConfigError):
        measure(base, count=0)
    with pytest.raises(DataError):
        measure(base, "x" * 500, count=1)


def test_spreads_are_ranks() -> None:
    assert spread_ms([0.004, 0.001, 0.002]) == {
        **{"min": 1.0, "p50": 2.0, "p95": 4.0, "max": 4.0},
        "mean": 2.333,
    }
