"""`vox mens eval-local`: a model's answers to tasks, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.eval_local_text import eval_local_text
from vox_cli.task_file_reader import task_files
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
from vox_populi.evals.task_files import SAMPLES
from vox_populi.number_ranges import (
    NEW_TOKENS,
    PENALTY,
    POSITIVE_SHARE,
    SEED,
    TEMPERATURE,
    TOP_K,
)
from vox_populi.pipeline.eval_local import EvalLocalRequest, evaluate_tasks


def eval_local(
    context: typer.Context,
    console: Console,
    tasks: Annotated[list[Path], flags.repeated_path("File of tasks; repeat it for more.", "FILE")],
    target: TargetArgument = None,
    model: ModelFlag = None,
    run: RunFlag = None,
    checkpoint: CheckpointFlag = None,
    adapter: AdapterFlag = None,
    tokenizer: TokenizerFlag = None,
    template: TemplateFlag = None,
    system_prompt: SystemPromptFlag = None,
    force_template: ForceTemplateFlag = False,
    samples: Annotated[
        int | None, flags.whole("Answers per task.", SAMPLES, default="the task's, else 1")
    ] = None,
    max_new_tokens: Annotated[
        int | None,
        flags.whole("Largest number of tokens per answer.", NEW_TOKENS, "the task's, else 256"),
    ] = None,
    temperature: Annotated[
        float | None,
        flags.real("Randomness; 0 is greedy.", TEMPERATURE, default="the task's, else 0"),
    ] = None,
    top_k: Annotated[
        int | None, flags.whole("Sample from the K most likely tokens only.", TOP_K)
    ] = None,
    top_p: Annotated[
        float | None,
        flags.real("Sample from tokens up to this total probability only.", POSITIVE_SHARE),
    ] = None,
    repetition_penalty: Annotated[
        float | None, flags.real("Above 1 makes repetition less likely.", PENALTY)
    ] = None,
    seed: Annotated[
        int | None, flags.whole("Seed of sampling.", SEED, default="the task's, else 0")
    ] = None,
    compare_base: Annotated[
        bool, flags.switch("Also measure the base without its adapter.", "--compare-base")
    ] = False,
    run_code: Annotated[
        bool,
        flags.switch("Run the code of answers, locked in, where tasks have tests.", "--run-code"),
    ] = False,
    output_dir: Annotated[
        Path | None, flags.path("New folder for report, page and receipt.", "DIR")
    ] = None,
    force: Annotated[
        bool, flags.switch("Rename an existing --output-dir out of the way.", "--force")
    ] = False,
    device: DeviceFlag = DeviceKind.BEST,
    dtype: DtypeFlag = ComputeDtype.AUTO,
    threads: ThreadsFlag = None,
) -> None:
    """Answer tasks, check the answers, and report rates with 95 % intervals.

    A task says what is asked, how often it is sampled and what an answer must meet: strings, a
    pattern, JSON, Python, unit tests. The same tasks, weights and seed give the same report.
    """
    request = EvalLocalRequest(
        tasks=task_files(tasks),
        weights=weights_of_target(context),
        samples=samples,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
        compare_base=compare_base,
        run_code=run_code,
        output=output_dir,
        force=force,
    )
    report = evaluate_tasks(request)
    console.notes(report.notes)
    console.report(report, eval_local_text)
