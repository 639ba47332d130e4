"""`vox mens merge-weights`: an adapter folded into its base, with a receipt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.merge_text import merge_text
from vox_populi.merge.choices import MergeFormat
from vox_populi.merge.number_type import MergeDtype
from vox_populi.number_ranges import THREADS
from vox_populi.pipeline.merge import (
    MergeRequest,
)
from vox_populi.pipeline.merge import merge_weights as merge


def merge_weights(
    console: Console,
    checkpoint: Annotated[
        Path, flags.path("Adapter file, or the folder of a run or checkpoint.", "PATH")
    ],
    output_dir: Annotated[Path, flags.path("Folder to write.", "DIR")],
    model: Annotated[
        Path | None, flags.path("Base folder, if it has moved since training.", "DIR")
    ] = None,
    format: Annotated[
        MergeFormat, flags.choice("What to write.", MergeFormat, "vox")
    ] = MergeFormat.VOX,
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
    """Fold an adapter into its base, and check that the result does what was trained.

    `vox` writes model_merged.bin for this program, `hf` a folder that transformers loads. `auto`
    writes the base's number type, or the smallest wider one that keeps what was trained. A merge
    that loses it, measured on rows of the run, is not published.
    """
    report = merge(
        MergeRequest(
            checkpoint=checkpoint,
            output=output_dir,
            model_dir=model,
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
