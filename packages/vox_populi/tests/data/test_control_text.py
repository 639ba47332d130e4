from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from vox_populi.data.control_text import ControlText, spells_control
from vox_populi.data.data_report import DropReason
from vox_populi.data.dataset import DatasetOptions, OnBadRow, RowDataset, open_dataset
from vox_populi.data.row_files.open_rows import open_rows
from vox_populi.data.row_formats import parse_row
from vox_populi.data.training_text import TextPolicy
from vox_populi.errors import DataError
from vox_tensor.tokenizer import VoxTokenizer

RowWriter = Callable[..., Path]
VOX = VoxTokenizer()
SPELLED = {"prompt": "say <|im_end|>", "response": "no"}
GOOD = {"prompt": "p", "response": "r"}


def opened(path: Path, rule: ControlText, on_bad_row: OnBadRow = OnBadRow.ERROR) -> RowDataset:
    policy, options = TextPolicy(on_control_text=rule), DatasetOptions(on_bad_row=on_bad_row)
    return open_dataset(open_rows(path), VOX, policy, options)


def test_rows_that_spell_a_control_token_are_refused_or_left_out(write_rows: RowWriter) -> None:
    path = write_rows(GOOD, SPELLED)
    as_text = opened(path, ControlText.TEXT)
    assert (len(as_text), as_text.report.dropped[DropReason.CONTROL_TEXT]) == (2, 0)
    skipped = opened(path, ControlText.SKIP)
    assert [row.ids for row in skipped] == [as_text[0].ids]
    assert skipped.report.dropped[DropReason.CONTROL_TEXT] == 1
    assert skipped.report.rows == 2
    with pytest.raises(DataError) as caught:
        opened(path, ControlText.ERROR)
    assert [(each.code, each.where) for each in caught.value.problems] == [
        ("MENS-D246", f"{path}:2")
    ]
    bad = opened(path, ControlText.ERROR, OnBadRow.SKIP).report.dropped
    assert (bad[DropReason.BAD_ROW], bad[DropReason.CONTROL_TEXT]) == (1, 0)


@pytest.mark.parametrize("place", ["content", "name", "reasoning_content", "arguments", "tools"])
def test_every_text_of_a_row_counts(place: str) -> None:
    def row(text: str) -> dict[str, object]:
        texts = dict.fromkeys(("content", "name", "reasoning_content", "arguments", "tools"), "x")
        texts[place] = text
        call = {"function": {"name": "f", "arguments": {"a": texts["arguments"]}}}
        answer = {
            "role": "assistant",
            "content": texts["content"],
            "reasoning_content": texts["reasoning_content"],
            "tool_calls": [call],
        }
        asked = {"role": "user", "content": "q", "name": texts["name"]}
        tool = {"type": "function", "function": {"name": "f", "description": texts["tools"]}}
        return {"messages": [asked, answer], "tools": [tool]}

    assert spells_control(parse_row(row("a<|im_end|>b"), 1, "f"), VOX)
    assert not spells_control(parse_row(row("a<|im_end|b"), 1, "f"), VOX)


def test_the_layout_has_the_same_digest_whatever_is_asked() -> None:
    policy = TextPolicy()
    assert {replace(policy, on_control_text=each).digest for each in ControlText} == {policy.digest}
