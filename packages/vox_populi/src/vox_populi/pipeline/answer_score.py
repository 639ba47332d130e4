"""Comparing a model's answers with those of rows. Needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vox_populi.infer.generate import StopReason
from vox_populi.infer.python_syntax import is_python
from vox_populi.infer.sampling import SamplingSpec
from vox_populi.pipeline.answers import Answerer
from vox_populi.pipeline.evaluate import AnswerScore
from vox_tensor.records import Role, TrainingRecord

GREEDY = SamplingSpec()


def score_answers(
    answerer: Answerer, records: Sequence[TrainingRecord], max_new_tokens: int
) -> AnswerScore | None:
    """Answer rows greedily, each up to its last answer; `None` for no rows."""
    if not records:
        return None
    answers = [_answered(answerer, record, max_new_tokens) for record in records]
    return AnswerScore(
        rows=len(answers),
        exact=sum(each.text.strip() == each.expected.strip() for each in answers),
        python=sum(is_python(each.text) for each in answers),
        expected_python=sum(is_python(each.expected) for each in answers),
        blank=sum(not each.text.strip() for each in answers),
        cut=sum(each.is_cut for each in answers),
    )


class _Answer(NamedTuple):
    text: str
    expected: str
    is_cut: bool


def _answered(answerer: Answerer, record: TrainingRecord, max_new_tokens: int) -> _Answer:
    """The model's answer in place of the row's last answer, and that answer."""
    messages = record.messages
    last = max(i for i, message in enumerate(messages) if message.role is Role.ASSISTANT)
    prompt_ids = answerer.encode(messages[:last])
    expected = messages[last].content
    if not 0 < len(prompt_ids) <= answerer.most_prompt_tokens:
        return _Answer("", expected, is_cut=False)
    made = answerer.answer(prompt_ids, max_new_tokens, GREEDY)
    is_cut = made.stop_reason is not StopReason.STOP_TOKEN
    return _Answer(answerer.decode(made.ids), expected, is_cut)
