"""Remarks on answers that are blank or were cut off; `--json` has the `stop_reason`."""

from __future__ import annotations

from vox_populi.operator_messages import run as say
from vox_populi.pipeline.generate import GenerateResult


def answer_remark(result: GenerateResult) -> str | None:
    """One line, or `None` if an answer needs no remark."""
    if result.stop_reason == "length":
        return say.note_answer_cut(len(result.ids))
    if result.stop_reason == "context":
        return say.NOTE_ANSWER_WITHOUT_ROOM
    if result.stop_reason == "stop_token" and not result.text.strip():
        return say.NOTE_ANSWER_WHITE_SPACE if result.text else say.NOTE_ANSWER_BLANK
    return None
