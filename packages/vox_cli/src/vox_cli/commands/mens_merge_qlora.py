"""`vox mens merge-qlora`: a QLoRA adapter folded into the chosen weights, with a receipt."""

from __future__ import annotations

from vox_cli.console import Console
from vox_cli.merge_text import merge_text
from vox_populi.pipeline.merge import QloraMergeRequest
from vox_populi.pipeline.merge import merge_qlora as merge


def merge_qlora(console: Console, request: QloraMergeRequest) -> None:
    """Fold a QLoRA adapter into its base, and measure how far the result is from training.

    `dequant` is what the adapter was trained on: the base rounded to NF4 and dequantised.
    `original` is the base as stored. The receipt has the measured difference of both. A merge that
    loses what was trained, measured on rows of the run, is not published.
    """
    report = merge(request)
    console.notes(report.notes)
    console.report(report, merge_text)
