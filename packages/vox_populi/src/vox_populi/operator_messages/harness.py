"""The LM Evaluation Harness (MENS-H170 to H179): tasks that it cannot use."""

from __future__ import annotations

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem

HARNESS_TASKS_MISSING = Problem(
    code="MENS-H170",
    what="there is no task.",
    fix="Pass --tasks with a YAML file, or with the name of one of lm_eval's own tasks.",
    where="--tasks",
)
"""Nothing to measure."""


def harness_task_unusable(reason: str) -> Problem:
    """A task that lm_eval refuses or fails on."""
    return Problem(
        code="MENS-H171",
        what=f"lm_eval cannot use this task: {clipped(reason)}.",
        fix="Correct the file; lm_eval's task guide describes its keys. Data that is not on this"
        " machine is not fetched, unless HF_DATASETS_OFFLINE and HF_HUB_OFFLINE are 0.",
    )


def harness_text_too_long(tokens: int, most: int) -> Problem:
    """A continuation that alone fills the model's positions."""
    return Problem(
        code="MENS-H172",
        what=f"a continuation of a task has {tokens} tokens; this model has {most} positions.",
        fix="Use a task with shorter answers, or a model with more positions.",
    )
