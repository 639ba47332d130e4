from __future__ import annotations

import pytest

from vox_tensor.errors import DataError, FailureKind, Problem, VoxError

PROBLEM = Problem(code="MENS-D999", what="it is wrong.", fix="Make it right.")
PLACED = Problem(code="MENS-D999", what="it is wrong.", fix="Make it right.", where="a.jsonl:3")


def test_problem_is_one_line_of_code_place_cause_and_fix() -> None:
    assert str(PROBLEM) == "[MENS-D999] it is wrong. Make it right."
    assert str(PLACED) == "[MENS-D999] a.jsonl:3: it is wrong. Make it right."


@pytest.mark.parametrize("hostile", ["\n", "\r", "\x1b[2J", "\x00", "\u2028", "\u202e", "\udc80"])
def test_problem_escapes_what_could_move_a_cursor(hostile: str) -> None:
    shown = str(Problem(code="MENS-D999", what="x", fix="y", where=f"a{hostile}b"))
    assert hostile not in shown
    assert shown.isprintable()


def test_problem_keeps_printable_unicode() -> None:
    assert "données/ünï.jsonl" in str(
        Problem(code="MENS-D999", what="x", fix="y", where="données/ünï.jsonl")
    )


def test_problem_as_json_has_every_field() -> None:
    assert PLACED.as_json() == {
        "code": "MENS-D999",
        "what": "it is wrong.",
        "where": "a.jsonl:3",
        "fix": "Make it right.",
    }
    assert PROBLEM.as_json()["where"] is None


def test_error_holds_every_problem_and_prints_one_per_line() -> None:
    error = VoxError(PROBLEM, PLACED)
    assert error.problems == (PROBLEM, PLACED)
    assert str(error).splitlines() == [str(PROBLEM), str(PLACED)]


def test_error_without_a_problem_is_misuse() -> None:
    with pytest.raises(ValueError, match="at least one problem"):
        VoxError()


def test_data_error_is_a_refusal() -> None:
    assert issubclass(DataError, VoxError)
    assert DataError(PROBLEM).kind is FailureKind.REFUSED


def test_sentences_are_made_when_they_are_read() -> None:
    class Unreadable(Problem):
        def __str__(self) -> str:
            raise AssertionError

    error = DataError(Unreadable(code="MENS-D999", what="x", fix="y"))
    with pytest.raises(AssertionError):
        str(error)
