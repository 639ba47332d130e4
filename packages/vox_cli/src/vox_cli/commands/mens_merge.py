"""`vox mens merge`: an adapter folded into its base, whichever backend trained it."""

from __future__ import annotations

from vox_cli.console import Console
from vox_cli.merge_text import merge_text
from vox_populi.pipeline.merge import AnyMergeRequest, merge_adapter


def merge(console: Console, request: AnyMergeRequest) -> None:
    """Fold a LoRA or QLoRA adapter into its base, and check that the result does what was trained.

    `hf` writes a folder that transformers loads, `vox` model_merged.bin for this program. A QLoRA
    adapter goes into the weights it was trained on, with `--onto original` into those of the base.
    A merge that loses what was trained, measured on rows of the run, is not published.
    """
    report = merge_adapter(request)
    console.notes(report.notes)
    console.report(report, merge_text)
