from __future__ import annotations

import pytest

from vox_cli.answer_remark import answer_remark
from vox_populi.pipeline.generate import GenerateResult


@pytest.mark.parametrize(
    ("text", "reason", "part"),
    [
        ("", "stop_token", "wrote nothing"),
        (" \n", "stop_token", "white space"),
        ("half a wo", "length", "cut at 3 tokens"),
        ("", "length", "cut at 3 tokens"),
        ("half a wo", "context", "no positions left"),
        ("whole", "stop_token", None),
        ("half", "interrupted", None),
        ("", "interrupted", None),
    ],
)
def test_only_a_blank_or_unfinished_answer_is_remarked_on(
    text: str, reason: str, part: str | None
) -> None:
    remark = answer_remark(GenerateResult(prompt="p", text=text, ids=(1, 2, 3), stop_reason=reason))
    assert remark is None if part is None else part in str(remark)
