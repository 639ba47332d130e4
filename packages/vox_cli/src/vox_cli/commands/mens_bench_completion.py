"""`vox mens bench-completion`: how fast a model answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.prompt_source import prompts_of
from vox_cli.report_text import aligned
from vox_populi.contract.setting import extended
from vox_populi.files.json_numbers import JsonObject
from vox_populi.pipeline.bench_completion import (
    BenchCompletionReport,
    BenchCompletionRequest,
    BenchCompletionSettings,
)
from vox_populi.pipeline.bench_completion import bench_completion as measure


def bench_completion(
    console: Console,
    settings: BenchCompletionSettings,
    prompts: Annotated[
        Path, flags.path("File of prompts: a line each, or JSONL rows with a prompt.", "FILE")
    ],
) -> None:
    """Time greedy answers to the prompts of a file, one after the other.

    With --url, a server answers: vLLM, llama-server, ours, or any other with OpenAI's API. Exits
    with code 6 if --max-p95-ms is exceeded.
    """
    asked = prompts_of(None, prompts)
    report = measure(extended(BenchCompletionRequest, settings, prompts=asked))
    console.notes(report.notes)
    console.gated(report, bench_text)


def bench_text(report: BenchCompletionReport) -> str:
    """Rates and times."""
    tokens = sum(each.tokens for each in report.timings)
    is_here = report.device is not None
    return aligned(
        [
            ("server", report.url),
            ("model", report.model),
            ("adapter", report.adapter),
            ("answers", f"{len(report.timings):,}, {tokens:,} tokens"),
            ("tokens/s", f"{report.tokens_per_second:,.1f}"),
            ("first token", _spread(report.first_token_ms)),
            ("latency", _spread(report.latency_ms)),
            ("device", f"{report.device}, {report.compute_dtype}" if is_here else None),
        ]
    )


def _spread(times: JsonObject) -> str:
    names = {"min": "min", "p50": "median", "p95": "95 %", "max": "max"}
    return ", ".join(f"{words} {times[name]} ms" for name, words in names.items())
