"""Comparing a model's answers with those of rows. Needs torch."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.infer.python_syntax import is_python
from vox_populi.infer.sampling import SamplingSpec
from vox_populi.pipeline.answers import Answerer
from vox_populi.pipeline.eval_report import AnswerScore
from vox_tensor.records import Role, TrainingRecord

GREEDY = SamplingSpec()


def score_answers(
    answerer: Answerer, records: Sequence[TrainingRecord], max_new_tokens: int
) -> AnswerScore | None:
    """Have rows answered greedily, each up to its last answer; `None` for no rows."""
    if not records:
        return None
    pairs = [_answered(answerer, record, max_new_tokens) for record in records]
    return AnswerScore(
        rows=len(pairs),
        exact=sum(answer.strip() == expected.strip() for answer, expected in pairs),
        python=sum(is_python(answer) for answer, _ in pairs),
        expected_python=sum(is_python(expected) for _, expected in pairs),
    )


def _answered(answerer: Answerer, record: TrainingRecord, max_new_tokens: int) -> tuple[str, str]:
    """What the model says where the row has its last answer, and that answer."""
    messages = record.messages
    last = max(i for i, message in enumerate(messages) if message.role is Role.ASSISTANT)
    prompt_ids = answerer.encode(messages[:last])
    expected = messages[last].content
    if not 0 < len(prompt_ids) <= answerer.most_prompt_tokens:
        return "", expected
    made = answerer.answer(prompt_ids, max_new_tokens, GREEDY)
    return answerer.decode(made.ids), expected
