"""`vox mens generate`: continue prompts, greedily or by sampling."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vox_cli import flags, value_parsers
from vox_cli.console import ColorChoice, Console
from vox_cli.flags import ColorFlag, JsonFlag, QuietFlag, VerboseFlag
from vox_cli.prompt_source import prompts_of
from vox_cli.weights_flags import (
    CheckpointFlag,
    DeviceFlag,
    DtypeFlag,
    ModelFlag,
    RunFlag,
    SystemPromptFlag,
    TemplateFlag,
    ThreadsFlag,
    TokenizerFlag,
    weights_from,
)
from vox_populi.contract.choices import ComputeDtype, DeviceKind
from vox_populi.pipeline.dispatch import generate as continue_prompts
from vox_populi.pipeline.requests import GenerateRequest


def generate(
    context: typer.Context,
    prompt: Annotated[str | None, flags.text("What to continue.")] = None,
    prompts: Annotated[
        Path | None,
        flags.path('One prompt a line, or .jsonl rows with a "prompt".', "FILE"),
    ] = None,
    model: ModelFlag = None,
    run: RunFlag = None,
    checkpoint: CheckpointFlag = None,
    tokenizer: TokenizerFlag = None,
    template: TemplateFlag = None,
    system_prompt: SystemPromptFlag = None,
    max_new_tokens: Annotated[
        int, flags.whole("Most tokens to write.", at_least=1, default=128)
    ] = 128,
    temperature: Annotated[
        float,
        flags.value("Above 0 samples; 0 is greedy.", value_parsers.temperature, "X", 0),
    ] = 0.0,
    top_k: Annotated[int | None, flags.whole("Sample from the N likeliest.", at_least=1)] = None,
    top_p: Annotated[
        float,
        flags.value(
            "Sample from the likeliest with this share.", value_parsers.probability_mass, "X", 1
        ),
    ] = 1.0,
    seed: Annotated[int, flags.whole("Seed of sampling.", at_least=0, default=0)] = 0,
    device: DeviceFlag = DeviceKind.BEST,
    dtype: DtypeFlag = ComputeDtype.AUTO,
    threads: ThreadsFlag = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    color: ColorFlag = ColorChoice.AUTO,
) -> None:
    """Continue prompts with a base model, or with a run's adapter on top of it.

    With --json one document, or one line a prompt for a file of prompts.
    """
    console = Console(as_json=json, quiet=quiet, verbose=verbose, color=color)
    request = GenerateRequest(
        prompts=prompts_of(prompt, prompts),
        weights=weights_from(context),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
    )
    if temperature == 0 and (top_k is not None or top_p < 1):
        console.note("note: --top-k and --top-p have no effect at --temperature 0")
    for result in continue_prompts(request):
        if json and prompts is None:
            console.document(result.as_json())
        elif json:
            console.json_line(result.as_json())
        elif prompts is None:
            console.result(result.text)
        else:
            console.result(f"> {result.prompt}\n{result.text}\n")
