from __future__ import annotations

import pytest

from vox_populi.corpus.row_metadata import with_metadata

KEYS = ("lane", "response_mode", "task_family", "origin")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({}, ("vox_codegen", "code_only", "vox_codegen", "human")),
        ({"category": "python_function"}, ("vox_codegen", "code_only", "vox_codegen", "human")),
        ({"category": "Tool_Trace_fail"}, ("vox_tooling", "code_only", "tool_trace", "agent")),
        ({"category": "speech"}, ("vox_speech", "code_only", "speech_to_code", "human")),
        ({"category": "asr_refine"}, ("vox_speech", "code_only", "speech_to_code", "human")),
        ({"category": "documentation"}, ("vox_docs_qa", "prose_only", "docs_qa", "human")),
        ({"source": "synthetic:3"}, ("vox_codegen", "code_only", "vox_codegen", "synthetic")),
        ({"source": "shop:agent"}, ("vox_codegen", "code_only", "vox_codegen", "human")),
        ({"category": 5}, ("vox_codegen", "code_only", "vox_codegen", "human")),
    ],
)
def test_what_is_absent_follows_from_category_and_source(
    row: dict[str, object], expected: tuple[str, ...]
) -> None:
    filled = with_metadata(row)
    assert tuple(filled[key] for key in KEYS) == expected
    assert {key: filled[key] for key in row} == row


def test_what_is_there_is_kept_and_blank_counts_as_absent() -> None:
    row = {"category": "documentation", "lane": "own", "origin": "me", "task_family": " "}
    filled = with_metadata(row)
    assert (filled["lane"], filled["origin"]) == ("own", "me")
    assert filled["task_family"] == "docs_qa"
    assert filled["response_mode"] == "code_only", "prose is the mode of a lane"
    assert row == {"category": "documentation", "lane": "own", "origin": "me", "task_family": " "}
