"""`vox mens bench-completion`: how fast a model answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.prompt_source import prompts_of
from vox_cli.report_text import aligned
from vox_cli.weights_flags import (
    AdapterFlag,
    CheckpointFlag,
    DeviceFlag,
    DtypeFlag,
    ForceTemplateFlag,
    ModelFlag,
    RunFlag,
    SystemPromptFlag,
    TemplateFlag,
    ThreadsFlag,
    TokenizerFlag,
)
from vox_cli.weights_target import TargetArgument, weights_of_target
from vox_populi.contract.choices import ComputeDtype, DeviceKind
from vox_populi.files.json_numbers import JsonObject
from vox_populi.number_ranges import COUNT_OR_NONE, NEW_TOKENS
from vox_populi.pipeline.bench_completion import (
    MILLISECONDS,
    REQUESTS,
    BenchCompletionReport,
    BenchCompletionRequest,
)
from vox_populi.pipeline.bench_completion import bench_completion as measure


def bench_completion(
    context: typer.Context,
    console: Console,
    prompts: Annotated[
        Path, flags.path("File of prompts: a line each, or JSONL rows with a prompt.", "FILE")
    ],
    target: TargetArgument = None,
    model: ModelFlag = None,
    run: RunFlag = None,
    checkpoint: CheckpointFlag = None,
    adapter: AdapterFlag = None,
    tokenizer: TokenizerFlag = None,
    template: TemplateFlag = None,
    system_prompt: SystemPromptFlag = None,
    force_template: ForceTemplateFlag = False,
    count: Annotated[int, flags.whole("Measured answers.", REQUESTS, default=100)] = 100,
    warmup: Annotated[
        int, flags.whole("Answers before those, not measured.", COUNT_OR_NONE, default=5)
    ] = 5,
    max_new_tokens: Annotated[
        int, flags.whole("Largest number of tokens per answer.", NEW_TOKENS, default=10)
    ] = 10,
    max_p95_ms: Annotated[
        float | None, flags.real("Largest 95 % latency in milliseconds.", MILLISECONDS)
    ] = None,
    device: DeviceFlag = DeviceKind.BEST,
    dtype: DtypeFlag = ComputeDtype.AUTO,
    threads: ThreadsFlag = None,
) -> None:
    """Time greedy answers to the prompts of a file, one after the other.

    Exits with code 6 if --max-p95-ms is exceeded.
    """
    request = BenchCompletionRequest(
        prompts=prompts_of(None, prompts),
        weights=weights_of_target(context),
        count=count,
        warmup=warmup,
        max_new_tokens=max_new_tokens,
        max_p95_ms=max_p95_ms,
    )
    report = measure(request)
    console.notes(report.notes)
    console.gated(report, bench_text)


def bench_text(report: BenchCompletionReport) -> str:
    """Rates and times."""
    tokens = sum(each.tokens for each in report.timings)
    return aligned(
        [
            ("model", report.model),
            ("adapter", report.adapter),
            ("answers", f"{len(report.timings):,}, {tokens:,} tokens"),
            ("tokens/s", f"{report.tokens_per_second:,.1f}"),
            ("first token", _spread(report.first_token_ms)),
            ("latency", _spread(report.latency_ms)),
            ("device", f"{report.device}, {report.compute_dtype}"),
        ]
    )


def _spread(times: JsonObject) -> str:
    names = {"min": "min", "p50": "median", "p95": "95 %", "max": "max"}
    return ", ".join(f"{words} {times[name]} ms" for name, words in names.items())
