from __future__ import annotations

import pytest

from vox_tensor.records import (
    IGNORE_INDEX,
    EncodedRow,
    Message,
    MessageExtras,
    Role,
    ToolCall,
    TrainingRecord,
)


def test_ignore_index_is_the_one_of_torch_and_transformers() -> None:
    assert IGNORE_INDEX == -100


def test_roles_are_the_strings_of_the_files() -> None:
    assert [str(role) for role in Role] == ["system", "user", "assistant", "tool"]


def test_messages_are_learned_unless_told_otherwise() -> None:
    assert Message(Role.ASSISTANT, "yes").learn
    assert not Message(Role.ASSISTANT, "no", learn=False).learn


def test_what_few_messages_have_is_read_from_the_message() -> None:
    plain = Message(Role.USER, "hi")
    assert (plain.tool_calls, plain.tool_call_id, plain.name, plain.reasoning) == ((), *[None] * 3)
    assert not plain.is_developer
    calls = (ToolCall("f", {"a": 1}, "c"),)
    extras = MessageExtras(
        tool_calls=calls, tool_call_id="c", name="n", reasoning="r", is_developer=True
    )
    full = Message(Role.ASSISTANT, "", extras=extras)
    assert (full.tool_calls, full.tool_call_id, full.name, full.reasoning) == (calls, "c", "n", "r")
    assert full.is_developer


def test_a_record_is_unrated_by_default() -> None:
    record = TrainingRecord(messages=(Message(Role.USER, "hi"),), line=7)
    assert (record.line, record.rating, record.category, record.lane) == (7, None, None, None)


def test_length_and_supervised_tokens_of_a_row() -> None:
    row = EncodedRow((5, 6, 7, 8), (IGNORE_INDEX, IGNORE_INDEX, 7, 8), line=3)
    assert (len(row), row.n_supervised, row.line) == (4, 2, 3)


def test_the_first_token_of_a_row_is_never_learned() -> None:
    assert EncodedRow((5, 6), (5, 6)).n_supervised == 1
    assert EncodedRow((5,), (5,)).n_supervised == 0


def test_token_id_zero_is_learned_like_any_other() -> None:
    # The source system masks id 0 as padding, which is `!` in GPT-2's vocabulary.
    assert EncodedRow((5, 0), (IGNORE_INDEX, 0)).n_supervised == 1


def test_ids_and_labels_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="3 ids but 2 labels"):
        EncodedRow((1, 2, 3), (1, 2))
