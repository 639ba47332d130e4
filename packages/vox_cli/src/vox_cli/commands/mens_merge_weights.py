"""`vox mens merge-weights`: an adapter folded into its base, with a receipt."""

from __future__ import annotations

from vox_cli.console import Console
from vox_cli.merge_text import merge_text
from vox_populi.pipeline.merge import MergeRequest
from vox_populi.pipeline.merge import merge_weights as merge


def merge_weights(console: Console, request: MergeRequest) -> None:
    """Fold an adapter into its base, and check that the result does what was trained.

    `vox` writes model_merged.bin for this program, `hf` a folder that transformers loads. `auto`
    writes the base's number type, or the smallest wider one that keeps what was trained. A merge
    that loses it, measured on rows of the run, is not published.
    """
    report = merge(request)
    console.notes(report.notes)
    console.report(report, merge_text)
