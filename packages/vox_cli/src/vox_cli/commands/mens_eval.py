"""`vox mens eval`: how well a model predicts the supervised tokens of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.eval_text import eval_text
from vox_cli.weights_flags import (
    AdapterFlag,
    CheckpointFlag,
    DeviceFlag,
    DtypeFlag,
    ForceTemplateFlag,
    ModelFlag,
    RunFlag,
    SourceArgument,
    SystemPromptFlag,
    TemplateFlag,
    ThreadsFlag,
    TokenizerFlag,
    weights_from,
)
from vox_populi.contract.choices import ComputeDtype, DeviceKind
from vox_populi.data.dataset import OnBadRow, OnLongRow
from vox_populi.data.learned_parts import LearnedParts
from vox_populi.data.template_rows import History
from vox_populi.number_ranges import COUNT_OR_NONE, NEW_TOKENS, RATING, SEQ_LEN, TEXT_CHARS
from vox_populi.pipeline.evaluate import EvalRequest, evaluate


def eval(
    context: typer.Context,
    console: Console,
    data: Annotated[
        list[Path],
        flags.repeated_path(
            "File of rows, or folder with test or held-out rows; repeat it for more.", "FILE|DIR"
        ),
    ],
    source: SourceArgument = None,
    model: ModelFlag = None,
    run: RunFlag = None,
    checkpoint: CheckpointFlag = None,
    adapter: AdapterFlag = None,
    tokenizer: TokenizerFlag = None,
    template: TemplateFlag = None,
    system_prompt: SystemPromptFlag = None,
    force_template: ForceTemplateFlag = False,
    seq_len: Annotated[
        int | None,
        flags.whole("Largest number of tokens per row.", SEQ_LEN, default="the run's, else 512"),
    ] = None,
    min_rating: Annotated[int | None, flags.whole("Skip rows with a lower rating.", RATING)] = None,
    context_filter: Annotated[
        str | None, flags.text("Use only rows whose category contains this.")
    ] = None,
    on_bad_row: Annotated[
        OnBadRow, flags.choice("What to do with rows that cannot be used.", OnBadRow, "error")
    ] = OnBadRow.ERROR,
    on_long_row: Annotated[
        OnLongRow,
        flags.choice("What to do with rows longer than --seq-len.", OnLongRow, "truncate"),
    ] = OnLongRow.TRUNCATE,
    learn: Annotated[
        LearnedParts,
        flags.choice(
            "What is measured of a row: its answers, the last one, or every token.",
            LearnedParts,
            "answers",
        ),
    ] = LearnedParts.ANSWERS,
    history: Annotated[
        History,
        flags.choice(
            "Answers that the model's template rewrites later: refuse, measure the last, or each"
            " in a row of its own.",
            History,
            "last",
        ),
    ] = History.LAST,
    text_chunk_chars: Annotated[
        int,
        flags.whole("Most characters of a row of plain text or Markdown.", TEXT_CHARS, 2000),
    ] = 2000,
    no_row_cache: Annotated[
        bool, flags.switch("Keep and use no encoded rows of large files.", "--no-row-cache")
    ] = False,
    row_cache_dir: Annotated[
        Path | None,
        flags.path("Folder of the row cache.", "DIR", "vox-mens in the user's cache folder"),
    ] = None,
    generate: Annotated[
        int,
        flags.whole(
            "Also answer N rows, taking each source in turn, and compare.", COUNT_OR_NONE, default=0
        ),
    ] = 0,
    max_new_tokens: Annotated[
        int, flags.whole("Largest number of tokens per answer.", NEW_TOKENS, default=256)
    ] = 256,
    compare_base: Annotated[
        bool, flags.switch("Also measure the base without its adapter.", "--compare-base")
    ] = False,
    device: DeviceFlag = DeviceKind.BEST,
    dtype: DtypeFlag = ComputeDtype.AUTO,
    threads: ThreadsFlag = None,
) -> None:
    """Measure loss and perplexity over the supervised tokens of a file, in total and per source.

    With --generate, also count the answers that are exact and those that are valid Python.
    Without --model or an adapter, measure the embedded base.
    """
    request = EvalRequest(
        data=tuple(data),
        weights=weights_from(context),
        seq_len=seq_len,
        min_rating=min_rating,
        context_filter=context_filter,
        on_bad_row=on_bad_row,
        on_long_row=on_long_row,
        learn=learn,
        history=history,
        text_chunk_chars=text_chunk_chars,
        use_row_cache=not no_row_cache,
        row_cache_dir=row_cache_dir,
        generate=generate,
        max_new_tokens=max_new_tokens,
        compare_base=compare_base,
    )
    report = evaluate(request)
    console.notes(report.notes)
    console.report(report, eval_text)
