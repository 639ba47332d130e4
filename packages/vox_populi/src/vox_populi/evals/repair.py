"""Answering a task until it is right: generate, check, feed the error back, try again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from vox_populi.evals.checks import Judged, judge
from vox_populi.evals.eval_task import EvalTask, Measure
from vox_populi.evals.scorecard_kpis import ScorecardEvent
from vox_tensor.records import Message, Role


class Answers(Protocol):
    """Anything that answers tasks."""

    def attempt(
        self, task: EvalTask, seed: int, further: Sequence[Message], remark: str
    ) -> tuple[str, int]:
        """An answer and its number of tokens.

        Args:
            task: What is asked.
            seed: Of sampling.
            further: Turns after those of a conversation.
            remark: Comment to put in front of a text to continue.
        """
        ...


def repaired(task: EvalTask, answers: Answers, max_attempts: int) -> ScorecardEvent:
    """Try a task until an answer meets every check, comes back refused once more, or tries run out.

    Raises:
        VoxError: As `judge` says.
    """
    told: list[Message] = []
    remark, tokens, stalled = "", 0, False
    texts: list[str] = []
    judgements: list[Judged] = []
    for attempt in range(1, max_attempts + 1):
        text, count = answers.attempt(task, task.seed_of(attempt - 1), told, remark)
        judged = judge(task, text)
        stalled = text.strip() in {each.strip() for each in texts}
        tokens += count
        texts.append(text)
        judgements.append(judged)
        if judged.passed or stalled:
            break
        reasons = "\n".join(f"- {reason}" for reason in judged.reasons)
        told += [Message(Role.ASSISTANT, text), Message(Role.USER, _feedback(reasons))]
        remark = f"# An earlier attempt was refused: {judged.reasons[0]}\n"
    passed = judgements[-1].passed
    return ScorecardEvent(
        task_id=task.task_id,
        attempts=len(texts),
        valid_at=len(texts) if passed else None,
        stalled=stalled and not passed,
        syntax=_first_and_last(judgements, Measure.SYNTAX),
        semantic=_first_and_last(judgements, Measure.SEMANTIC),
        tokens=tokens,
        reasons=tuple(judged.reasons for judged in judgements),
        answers=tuple(texts),
    )


def _feedback(reasons: str) -> str:
    return f"That answer was refused:\n{reasons}\nWrite the whole answer again, corrected."


def _first_and_last(judgements: Sequence[Judged], measure: Measure) -> tuple[bool, bool] | None:
    first, last = judgements[0].meets(measure), judgements[-1].meets(measure)
    return None if first is None or last is None else (first, last)
