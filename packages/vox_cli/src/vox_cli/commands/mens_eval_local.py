"""`vox mens eval-local`: a model's answers to tasks, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.eval_local_text import eval_local_text
from vox_cli.task_file_reader import task_files
from vox_populi.contract.setting import extended
from vox_populi.pipeline.eval_local import EvalLocalRequest, EvalLocalSettings, evaluate_tasks


def eval_local(
    console: Console,
    settings: EvalLocalSettings,
    tasks: Annotated[list[Path], flags.repeated_path("File of tasks; repeat it for more.", "FILE")],
) -> None:
    """Answer tasks, check the answers, and report rates with 95 % intervals.

    A task says what is asked, how often it is sampled and what an answer must meet: strings, a
    pattern, JSON, Python, unit tests. The same tasks, weights and seed give the same report.
    """
    report = evaluate_tasks(extended(EvalLocalRequest, settings, tasks=task_files(tasks)))
    console.notes(report.notes)
    console.report(report, eval_local_text)
