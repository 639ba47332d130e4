"""`vox mens eval`: how well a model predicts the supervised tokens of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vox_cli import flags
from vox_cli.console import ColorChoice, Console
from vox_cli.flags import ColorFlag, JsonFlag, QuietFlag, VerboseFlag
from vox_cli.report_text import eval_text
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
from vox_populi.data.dataset import OnBadRow, OnLongRow
from vox_populi.pipeline.dispatch import evaluate
from vox_populi.pipeline.requests import EvalRequest


def eval(
    context: typer.Context,
    data: Annotated[Path, flags.path("JSONL file of rows.", "FILE")],
    model: ModelFlag = None,
    run: RunFlag = None,
    checkpoint: CheckpointFlag = None,
    tokenizer: TokenizerFlag = None,
    template: TemplateFlag = None,
    system_prompt: SystemPromptFlag = None,
    seq_len: Annotated[
        int | None, flags.whole("Most tokens of a row.", at_least=2, default="the run's, else 512")
    ] = None,
    min_rating: Annotated[int | None, flags.whole("Leave out rows rated lower.")] = None,
    context_filter: Annotated[
        str | None, flags.text("Keep rows whose category contains this.")
    ] = None,
    on_bad_row: Annotated[
        OnBadRow, flags.choice("Rows that cannot be read.", OnBadRow, "error")
    ] = OnBadRow.ERROR,
    on_long_row: Annotated[
        OnLongRow, flags.choice("Rows over --seq-len.", OnLongRow, "truncate")
    ] = OnLongRow.TRUNCATE,
    device: DeviceFlag = DeviceKind.BEST,
    dtype: DtypeFlag = ComputeDtype.AUTO,
    threads: ThreadsFlag = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    color: ColorFlag = ColorChoice.AUTO,
) -> None:
    """Measure loss and perplexity over the supervised tokens of a file, in all and per source.

    Without --model, --run and --checkpoint the embedded base is measured.
    """
    console = Console(as_json=json, quiet=quiet, verbose=verbose, color=color)
    request = EvalRequest(
        data=data,
        weights=weights_from(context),
        seq_len=seq_len,
        min_rating=min_rating,
        context_filter=context_filter,
        on_bad_row=on_bad_row,
        on_long_row=on_long_row,
    )
    report = evaluate(request)
    for note in report.notes:
        console.note(f"note: {note}")
    if json:
        console.document(report.as_json())
    else:
        console.result(eval_text(report))
