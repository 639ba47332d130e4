"""`vox mens eval`: how well a model predicts the supervised tokens of a file."""

from __future__ import annotations

from vox_cli.console import Console
from vox_cli.eval_text import eval_text
from vox_populi.pipeline.evaluate import EvalRequest, evaluate


def eval(console: Console, request: EvalRequest) -> None:
    """Measure loss and perplexity over the supervised tokens of a file, in total and per source.

    With --generate, also count the answers that are exact and those that are valid Python.
    Without --model or an adapter, measure the embedded base.
    """
    report = evaluate(request)
    console.notes(report.notes)
    console.report(report, eval_text)
