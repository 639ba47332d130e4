"""`vox mens lm-eval`: tasks of the LM Evaluation Harness."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vox_cli.console import Console
from vox_cli.eval_text import table_lines
from vox_cli.report_text import aligned
from vox_cli.yaml_values import read_yaml
from vox_populi.contract.setting import extended
from vox_populi.pipeline.harness import (
    HarnessReport,
    HarnessRequest,
    HarnessSettings,
    HarnessTask,
    run_harness,
)

_FILES = (".yaml", ".yml")


def lm_eval(
    console: Console,
    settings: HarnessSettings,
    tasks: Annotated[
        list[str],
        typer.Option(
            help="Task file of lm_eval (YAML), or the name of one of its own; repeat it for more.",
            metavar="FILE|NAME",
            show_default=False,
            show_envvar=False,
        ),
    ],
) -> None:
    """Measure a model with tasks of the LM Evaluation Harness (the extra lm-eval).

    Tasks are measured as lm_eval's own model for transformers measures them, with the weights of
    this program. Nothing is fetched. A task can run code: use only those that you trust.
    """
    asked = tuple(_task(each) for each in tasks)
    report = run_harness(extended(HarnessRequest, settings, tasks=asked))
    console.notes(report.notes)
    console.report(report, lm_eval_text)


def _task(given: str) -> HarnessTask:
    path = Path(given)
    if path.suffix not in _FILES:
        return HarnessTask(name=given)
    document = read_yaml(path)
    return HarnessTask(name=given, document=document if isinstance(document, dict) else {})


def lm_eval_text(report: HarnessReport) -> str:
    """A line for each figure, with its standard error."""
    head = aligned(
        [
            ("model", report.model),
            ("adapter", report.adapter),
            ("lm_eval", report.lm_eval),
            ("time", f"{report.seconds:.1f} s"),
        ]
    )
    rows = [["task", "metric", "value", "stderr", "examples"]]
    for each in report.tasks:
        for name, value in each.metrics.items():
            if "_stderr" in name:
                continue
            word, comma, kind = name.partition(",")
            error = each.metrics.get(f"{word}_stderr{comma}{kind}")
            shown = "" if error is None else f"{error:.4f}"
            rows.append([each.task, name, f"{value:.4f}", shown, f"{each.examples:,}"])
    return f"{head}\n\n" + "\n".join(table_lines(rows))
