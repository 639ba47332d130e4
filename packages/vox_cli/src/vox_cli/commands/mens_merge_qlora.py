"""`vox mens merge-qlora`: a QLoRA adapter folded into the chosen weights, with a receipt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.merge_text import merge_text
from vox_populi.merge.choices import MergeFormat, Onto
from vox_populi.merge.number_type import MergeDtype
from vox_populi.number_ranges import THREADS
from vox_populi.pipeline.merge import (
    QloraMergeRequest,
)
from vox_populi.pipeline.merge import merge_qlora as merge


def merge_qlora(
    console: Console,
    adapter: Annotated[
        Path, flags.path("Adapter file, or the folder of a run or checkpoint.", "PATH")
    ],
    output_dir: Annotated[Path, flags.path("Folder to write.", "DIR")],
    base: Annotated[
        Path | None, flags.path("Base folder, if it has moved since training.", "DIR")
    ] = None,
    meta: Annotated[
        Path | None, flags.path("Sidecar of the adapter, if it is in another place.", "FILE")
    ] = None,
    onto: Annotated[
        Onto | None,
        flags.choice("Weights to merge into.", Onto, "dequant; with --subset, original"),
    ] = None,
    subset: Annotated[
        bool, flags.switch("Write only the merged tensors, in float32.", "--subset")
    ] = False,
    format: Annotated[
        MergeFormat, flags.choice("What to write.", MergeFormat, "hf")
    ] = MergeFormat.HF,
    include_system_prompt: Annotated[
        bool,
        flags.switch(
            "Publish the text of the training's system prompt, not only its digest.",
            "--include-system-prompt",
        ),
    ] = False,
    keep_base_text: Annotated[
        bool,
        flags.switch(
            "Copy the base's chat template and end tokens, not the training's.",
            "--keep-base-text",
        ),
    ] = False,
    dtype: Annotated[
        MergeDtype,
        flags.choice("Number type to write.", MergeDtype, "auto"),
    ] = MergeDtype.AUTO,
    force: Annotated[
        bool, flags.switch("Rename an existing --output-dir first.", "--force")
    ] = False,
    threads: Annotated[
        int | None, flags.whole("CPU threads.", THREADS, default="torch's, at most 8")
    ] = None,
) -> None:
    """Fold a QLoRA adapter into its base, and measure how far the result is from training.

    `dequant` is what the adapter was trained on: the base rounded to NF4 and dequantised.
    `original` is the base as stored. The receipt has the measured difference of both. A merge that
    loses what was trained, measured on rows of the run, is not published.
    """
    report = merge(
        QloraMergeRequest(
            adapter=adapter,
            output=output_dir,
            base=base,
            meta=meta,
            onto=onto,
            subset=subset,
            output_format=format,
            include_system_prompt=include_system_prompt,
            keep_base_text=keep_base_text,
            dtype=dtype,
            force=force,
            threads=threads,
        )
    )
    console.notes(report.notes)
    console.report(report, merge_text)
